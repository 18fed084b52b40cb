"""A sealer that is ended at any moment leaves a folder that verifies, and the next one goes on from it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.eventstore.audit import durable_file, sealer
from services.eventstore.audit.sealed_folder import SealedFolder
from services.eventstore.sqlite.read_only import ReadOnlySqliteEventStore
from services.eventstore.sqlite.store import SqliteEventStore
from services.eventstore.store import EventStore
from services.kernel.errors import NotFound, Unavailable
from tests.audit_room import CLOCK, KEY, KEYS, GappedStore, fill, memory_log, sealed, verified

ROOT = Path(__file__).resolve().parents[2]
POINTS_MAX = 500
WORKER = """
import os, signal, sys
from pathlib import Path
from services.eventstore.audit import durable_file
from services.eventstore.audit.sealer import Sealer
from services.eventstore.sqlite.read_only import ReadOnlySqliteEventStore
from tests.audit_room import KEY

left, fsync = int(sys.argv[3]), os.fsync

def fsync_or_die(descriptor):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)

os.fsync = fsync_or_die
Sealer(ReadOnlySqliteEventStore(Path(sys.argv[1])), Path(sys.argv[2]), KEY).seal()
"""


class Ended(BaseException):
    """The process is gone: nothing of it runs on."""


@pytest.mark.parametrize("gapped", [False, True], ids=["contiguous", "gapped"])
def test_a_sealer_that_ends_at_any_file_operation_is_gone_on_from(
    gapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time one operation later: every write is cut in half, every replace, sync and removal left out."""
    inner = memory_log(300)
    store: EventStore = GappedStore(inner) if gapped else inner
    before = tmp_path / "before"
    sealed(store, before)
    fill(inner, 250, first=301)
    monkeypatch.setattr(sealer, "SEAL_EVENTS_MAX", 200)
    for point in range(1, POINTS_MAX):
        folder = tmp_path / str(point)
        shutil.copytree(before, folder)
        with monkeypatch.context() as ending:
            end_at(point, ending)
            try:
                sealed(store, folder)
                break
            except Ended:
                pass
        assert_goes_on(store, folder)
    assert 20 < point < POINTS_MAX - 1


def end_at(point: int, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = 0

    def passes() -> bool:
        nonlocal passed
        passed += 1
        return passed == point

    def ending(function: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object, **options: object) -> object:
            if passes():
                raise Ended
            return function(*arguments, **options)

        return run

    def write_half(path: Path, content: bytes) -> None:
        if passes():
            path.write_bytes(content[: len(content) // 2])
            raise Ended
        path.write_bytes(content)

    monkeypatch.setattr(durable_file, "_write_synced", write_half)
    monkeypatch.setattr(durable_file, "_sync", ending(lambda _folder: None))
    monkeypatch.setattr(Path, "replace", ending(Path.replace))
    monkeypatch.setattr(shutil, "rmtree", ending(shutil.rmtree))


def assert_goes_on(store: EventStore, folder: Path) -> None:
    """What was left verifies as it is, everything signed stays signed, and the next sealer finishes."""
    signed = {size: (folder / f"checkpoints/{size}").read_bytes() for size in SealedFolder(folder).sizes()}
    left = verified(store, folder)
    assert left.verified, left.problem
    assert left.sealed >= max(signed)
    assert sealed(store, folder).size == 550
    assert all((folder / f"checkpoints/{size}").read_bytes() == note for size, note in signed.items())
    found = verified(store, folder)
    assert (found.verified, found.sealed) == (True, 550), found.problem


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "log.db"
    store = SqliteEventStore(path, CLOCK)
    fill(store, 600)
    store.close()
    return path


@pytest.mark.parametrize("at", [1, 3, 5, 8, 10, 12])
def test_a_sealer_process_that_is_killed_is_gone_on_from(at: int, log: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / each) for each in ("", "proto/gen"))}
    command = [sys.executable, "-c", WORKER, str(log), str(tmp_path / "audit"), str(at)]
    ended = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    store = ReadOnlySqliteEventStore(log)
    try:
        assert verified(store, tmp_path / "audit").verified
    except NotFound:
        assert SealedFolder(tmp_path / "audit").newest(KEYS) is None
    assert sealed(store, tmp_path / "audit", KEY).size == 600
    assert verified(store, tmp_path / "audit").sealed == 600
    store.close()


def test_a_full_disk_seals_nothing_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = memory_log(10)
    sealed(store, tmp_path)
    fill(store, 300, first=11)

    def no_space(_path: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(durable_file, "_write_synced", no_space)
        with pytest.raises(Unavailable, match="No space left"):
            sealed(store, tmp_path)
    assert verified(store, tmp_path).sealed == 10
    assert sealed(store, tmp_path).size == 310
