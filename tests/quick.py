"""Runs the tests that are run all the time: those of tests/unit that start no process and no database, in two halves.

A file that names something which starts one is left out, and a test that starts one all the same fails, so nothing slow
creeps in unseen: each half is a run of pytest with this file as its plugin. Arguments are handed on to both.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "unit"

STARTERS: Final = re.compile(
    r"subprocess|Popen|postgres|kurrentdb|fork\(|DATABASES|STORES|FaultyProxy|pytest_run", re.IGNORECASE
)
"""What the files have in common that are left out."""

REFUSED: Final = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"})
PARTS: Final = 2


def quick_files() -> list[str]:
    """The files whose tests are quick, by name."""
    return [str(path) for path in sorted(FOLDER.glob("test_*.py")) if not STARTERS.search(path.read_text())]


def main() -> int:
    """Both halves at once; the first is seen as it runs, the other when both are done. 0 when both are green."""
    files = quick_files()
    first, *others = (_started(files[part::PARTS], is_seen=part == 0) for part in range(PARTS))
    told = [other.communicate()[0] for other in others]
    codes = [first.wait(), *(other.returncode for other in others)]
    print(*told, sep="\n")
    return next((code for code in codes if code), 0)


def _started(files: Sequence[str], *, is_seen: bool) -> subprocess.Popen[str]:
    """Without pytest's cache, which two runs would take out of each other's hands."""
    command = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", "-p", "tests.quick"]
    output = None if is_seen else subprocess.PIPE
    return subprocess.Popen([*command, *sys.argv[1:], *files], stdout=output, text=True)


def pytest_configure() -> None:
    """Called by pytest before it collects."""
    sys.addaudithook(_refuse_processes)


def _refuse_processes(event: str, _: object) -> None:
    if event in REFUSED:
        raise AssertionError("a quick test starts no process; name what starts it in tests/quick.py (STARTERS)")


if __name__ == "__main__":
    sys.exit(main())
