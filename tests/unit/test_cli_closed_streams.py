"""A command whose standard streams are closed, or cannot be written, ends with its exit code and no traceback."""

import subprocess
import sys

import pytest

COMMAND = 'exec "$0" -m services.cli "$@"'


def run(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = ["sh", "-c", f"{COMMAND} {redirection}", sys.executable, *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)


def test_a_closed_standard_input_holds_no_cloud_event() -> None:
    ended = run("<&-", "usage", "send", "-", "--json")
    assert (ended.returncode, '"FILE_EMPTY"' in ended.stdout) == (2, True)
    assert ended.stderr.splitlines() == [
        "error: there is no CloudEvent; write JSON objects, one a line or in an array",
    ]


@pytest.mark.parametrize("redirection", [">&-", "> /dev/full"])
def test_a_failure_that_cannot_be_written_is_told_on_standard_error_and_by_the_exit_code(redirection: str) -> None:
    ended = run(redirection, "usage", "send", "no-such-file", "--json")
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == ["error: no file no-such-file; check the path"]


def test_with_all_standard_streams_closed_only_the_exit_code_is_left() -> None:
    ended = run("<&- >&- 2>&-", "usage", "send")
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", "")
