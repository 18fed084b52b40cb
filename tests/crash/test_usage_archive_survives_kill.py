"""An archiver killed at any of its steps loses no usage and doubles none, and leaves nothing behind for long."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.kernel.failpoint import NAMES, VARIABLE
from tests.archive_room import ArchiveRoom
from tests.crash.usage_archiver import DurableLog, small_steps
from tests.databases import SQLITE, tables_url

POINTS = sorted(name for name in NAMES if name.startswith("archive."))
PASSAGES = {"archive.before_file": 9, "archive.after_file": 14, "archive.before_commit": 5, "archive.after_commit": 7}
RUN_TIMEOUT_S = 120.0


def run_until_killed(folder: Path, failpoint: str) -> int:
    command = [sys.executable, "-m", "tests.crash.usage_archiver", str(folder)]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, VARIABLE: failpoint, "PYTHONPATH": path}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False)
    assert ran.returncode in (0, -9), ran.stdout + ran.stderr
    return ran.returncode


@pytest.mark.parametrize("point", POINTS)
def test_an_archiver_killed_at_a_step_loses_nothing_and_doubles_nothing(tmp_path: Path, point: str) -> None:
    assert run_until_killed(tmp_path, f"{point}=kill@{PASSAGES.get(point, 1)}") == -9
    with small_steps():
        require_sound(tmp_path)


def require_sound(folder: Path) -> None:
    log = DurableLog(folder)
    room = ArchiveRoom(folder, log, url=tables_url(SQLITE, folder))
    try:
        room.catch_up()
        room.archive.open()
        everything = room.read_log()
        assert len(everything) > 40
        assert room.read() == everything, "what is listed can be read right after the kill"
        room.compact()
        assert room.archived_rows() == len(everything)
        assert room.read() == everything
        room.housekeeping.delete_removed()
        assert sorted(path.relative_to(room.path).as_posix() for path in room.files()) == room.listed()
    finally:
        room.close()
        log.store.close()
