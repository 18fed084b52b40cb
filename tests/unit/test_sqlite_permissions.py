"""A log in SQLite that may not be written, or has no room: the error says so, and what is there stays."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.eventstore.audit.verify import verify
from services.eventstore.event import BEGINNING
from services.eventstore.sqlite.connection import SqliteLimits
from services.eventstore.sqlite.read_only import ReadOnlySqliteEventStore
from services.eventstore.sqlite.store import SqliteEventStore
from services.eventstore.sqlite.writer_lock import WriterLock
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Unavailable
from tests.archives import EVENT_COUNT, START, STREAMS, all_events, fill, filled, leaves

# Root may write everywhere, so what is forbidden is tried as somebody else.
AS_NOBODY = """
import json, os, sys
from pathlib import Path
from uuid import UUID
from services.eventstore.event import ANY_VERSION, NewEvent, StreamName
from services.eventstore.sqlite.read_only import ReadOnlySqliteEventStore
from services.eventstore.sqlite.store import SqliteEventStore
from services.kernel.clock import SystemClock
from services.kernel.errors import DomainError
from tests.archives import leaves

what, path = sys.argv[1], Path(sys.argv[2])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    if what == "read":
        print(json.dumps({"events": len(leaves(ReadOnlySqliteEventStore(path)))}))
    else:
        store = SqliteEventStore(path, SystemClock())
        store.append(StreamName("new", "0"), [NewEvent(UUID(int=1), "Happened", 1, b"")], ANY_VERSION)
        print(json.dumps({"events": len(leaves(store))}))
        store.close()
except DomainError as error:
    print(json.dumps({"reason": error.reason, "message": error.message}))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter and that nobody else's rules apply to, with a log in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "log"
        folder.mkdir()
        store = SqliteEventStore(folder / "log.db", SimulatedClock(START))
        fill(store)
        store.close()
        Path(name).chmod(0o755)
        allow(folder, files=0o666, itself=0o777)
        yield folder
        allow(folder, files=0o666, itself=0o777)


def allow(folder: Path, files: int, itself: int) -> None:
    folder.chmod(0o777)
    for path in folder.iterdir():
        path.chmod(files)
    folder.chmod(itself)


def as_nobody(what: str, path: Path) -> dict[str, object]:
    """What somebody without rights of his own gets from `what`: append or read."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", AS_NOBODY, what, str(path)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout))


def count(path: Path) -> int:
    store = ReadOnlySqliteEventStore(path)
    try:
        assert verify(store).verified
        return len(leaves(store))
    finally:
        store.close()


def test_with_all_rights_the_log_takes_the_append(folder: Path) -> None:
    assert as_nobody("append", folder / "log.db") == {"events": EVENT_COUNT + 1}


@pytest.mark.parametrize(("files", "itself"), [(0o444, 0o777), (0o444, 0o555), (0o666, 0o555)])
def test_a_log_that_may_not_be_written_refuses_appends_and_stays(folder: Path, files: int, itself: int) -> None:
    allow(folder, files, itself)
    refused = as_nobody("append", folder / "log.db")
    assert refused["reason"] in {"LOG_NOT_WRITABLE", "LOG_NOT_OPENED"}, refused
    assert str(folder) in str(refused["message"])
    assert "permissions" in str(refused["message"])
    allow(folder, files=0o666, itself=0o777)
    assert count(folder / "log.db") == EVENT_COUNT
    assert as_nobody("append", folder / "log.db") == {"events": EVENT_COUNT + 1}


def test_a_log_that_may_not_be_read_is_named(folder: Path) -> None:
    allow(folder, files=0o000, itself=0o777)
    refused = as_nobody("read", folder / "log.db")
    assert (refused["reason"], "permissions" in str(refused["message"])) == ("LOG_NOT_OPENED", True), refused


@pytest.mark.parametrize("what", ["read", "append"])
def test_a_folder_that_may_not_be_entered_is_named(folder: Path, what: str) -> None:
    allow(folder, files=0o666, itself=0o000)
    refused = as_nobody(what, folder / "log.db")
    assert str(folder) in str(refused["message"]), refused


def test_a_log_in_a_folder_that_may_not_be_written_is_not_read_but_the_reason_is_told(folder: Path) -> None:
    """SQLite keeps the readers' index of the write-ahead log in a file beside it."""
    allow(folder, files=0o444, itself=0o555)
    refused = as_nobody("read", folder / "log.db")
    assert refused["reason"] in {"LOG_NOT_WRITABLE", "LOG_NOT_OPENED"}, refused
    assert "permissions" in str(refused["message"])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteEventStore]:
    limits = SqliteLimits(lock_timeout_s=0.05, busy_timeout_s=0.05)
    opened = SqliteEventStore(tmp_path / "log.db", SimulatedClock(START), limits=limits)
    yield opened
    opened.close()


def test_a_disk_that_fills_up_during_a_restore_loses_nothing(store: SqliteEventStore) -> None:
    origin = filled([1, 400, 400])
    events, commits = list(all_events(origin)), list(origin.read_commits(after=BEGINNING))
    store.restore(events[:1], commits[:1])
    connection = store._writer._connection
    assert connection is not None
    connection.execute("PRAGMA max_page_count = 20")
    with pytest.raises(Unavailable) as refused:
        store.restore(events, commits)
    assert refused.value.reason == "DISK_FULL"
    assert len(leaves(store)) == 1
    store.restore(events, commits)
    assert leaves(store) == leaves(origin)
    assert verify(store).verified


def test_a_neighbour_that_writes_holds_a_restore_up_and_nothing_is_lost(
    store: SqliteEventStore, tmp_path: Path
) -> None:
    origin = filled()
    events, commits = list(all_events(origin)), list(origin.read_commits(after=BEGINNING))
    with WriterLock(tmp_path / "log.db", timeout_s=1).held(), pytest.raises(Unavailable) as refused:
        store.restore(events, commits)
    assert refused.value.reason == "LOG_BUSY"
    store.restore(events, commits)
    assert leaves(store) == leaves(origin)
    assert store.read_stream(STREAMS[0])
