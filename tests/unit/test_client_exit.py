"""What the client does when its process ends or forks, seen from outside the process."""

import os
import subprocess
import sys

import pytest

from meterlog.client.testing import IngestInMemory

WAIT_S = 60

SYNCHRONOUS = """
import sys
from meterlog.client import Meterlog, Sending
meterlog = Meterlog(sys.argv[1], sending=Sending(linger_s=30.0))
for number in range(700):
    meterlog.record(type="t", subject="s", id=str(number), source="exiting")
"""

ASYNCHRONOUS = """
import asyncio, sys
from meterlog.client import AsyncMeterlog, Sending
async def main():
    meterlog = AsyncMeterlog(sys.argv[1], sending=Sending(linger_s=30.0))
    for number in range(700):
        await meterlog.record(type="t", subject="s", id=str(number), source="exiting")
asyncio.run(main())
"""

FAILING = SYNCHRONOUS + "raise SystemExit(3)"

FORKING = """
import os, sys
from meterlog.client import Meterlog, Sending, UsedAfterFork
meterlog = Meterlog(sys.argv[1], sending=Sending(linger_s=30.0))
meterlog.record(type="t", subject="s", id="parent", source="forking")
child = os.fork()
if child == 0:
    try:
        meterlog.record(type="t", subject="s", id="child", source="forking")
    except UsedAfterFork:
        meterlog.close()
        sys.exit(7)  # Runs the exit handlers that the child inherited.
    sys.exit(8)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
"""

FORKING_UNUSED = """
import os, sys
from meterlog.client import Meterlog
meterlog = Meterlog(sys.argv[1])
child = os.fork()
meterlog.record(type="t", subject="s", id="child" if child == 0 else "parent").result(60)
if child:
    os.waitpid(child, 0)
"""


def run(program, ingest):
    """Runs the program in a process of its own; what it printed, and its exit code."""
    command = [sys.executable, "-c", program, ingest.address]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False, env=environment)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended


@pytest.mark.parametrize("program", [SYNCHRONOUS, ASYNCHRONOUS], ids=["threads", "asyncio"])
def test_a_program_that_just_ends_loses_nothing(program):
    with IngestInMemory() as ingest:
        assert run(program, ingest).returncode == 0
    assert sorted(int(event.id) for event in ingest.recorded) == list(range(700))


def test_a_program_that_exits_with_an_error_loses_nothing_and_keeps_its_exit_code():
    with IngestInMemory() as ingest:
        assert run(FAILING, ingest).returncode == 3
    assert len(ingest.recorded) == 700


def test_after_a_fork_the_parent_sends_what_it_queued_and_the_child_is_told():
    with IngestInMemory() as ingest:
        assert run(FORKING, ingest).stdout.split() == ["7"]
    assert [event.id for event in ingest.recorded] == ["parent"]
    assert len(ingest.batches) == 1


def test_a_client_that_was_not_used_before_the_fork_works_on_both_sides_with_a_source_each():
    with IngestInMemory() as ingest:
        assert run(FORKING_UNUSED, ingest).returncode == 0
    assert {event.id for event in ingest.recorded} == {"parent", "child"}
    assert len({event.source for event in ingest.recorded}) == 2


def test_the_client_needs_neither_the_services_nor_their_libraries():
    program = (
        "import sys, meterlog.client\n"
        "roots = {name.partition('.')[0] for name in sys.modules}\n"
        "print(*sorted(roots & {'services', 'sqlalchemy', 'pyarrow', 'numpy', 'structlog', 'typer', 'rich', 'yaml'}))"
    )
    with IngestInMemory() as ingest:
        assert run(program, ingest).stdout.strip() == ""
