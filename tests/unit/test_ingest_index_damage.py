"""What damages, fills or takes away the files of the dedupe index: it is never used as it is, and never wrong."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from services.ingest import dedupe_index, index_run_writer
from services.ingest.index_entries import IndexBroken, IndexUnwritten
from services.ingest.index_runs import Runs
from services.kernel.errors import Unavailable
from services.projection import lasting_thread
from tests.dedupe_entries import LARGE, fold_of, found, opened
from tests.ingest_room import LIMITS


def cut_in_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def cut_a_little(content: bytes) -> bytes:
    return content[:-1]


def empty(_: bytes) -> bytes:
    return b""


def scribble(content: bytes) -> bytes:
    return os.urandom(len(content))


def zero(content: bytes) -> bytes:
    return bytes(len(content))


def one_bit_at(part: float) -> Callable[[bytes], bytes]:
    def flip(content: bytes) -> bytes:
        at = int(len(content) * part)
        return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]

    return flip


DAMAGES = [
    cut_in_half,
    cut_a_little,
    empty,
    scribble,
    zero,
    *(one_bit_at(part) for part in (0, 0.03, 0.2, 0.4, 0.6, 0.8, 0.97, 0.999)),
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["manifest", "*.run"])
def test_a_damaged_index_is_never_used_as_it_is(tmp_path: Path, damage: Callable[[bytes], bytes], file: str) -> None:
    index = opened(tmp_path, limits=LARGE)
    for version in range(5):
        index.fold(0, fold_of(version, range(version * 1_000, (version + 1) * 1_000)))
    index.close()
    path = min(tmp_path.glob(file))

    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(IndexBroken):
        opened(tmp_path)


def test_an_index_that_lacks_a_run_is_never_used_as_it_is(tmp_path: Path) -> None:
    index = opened(tmp_path)
    for version in range(LIMITS.spill_folds * 2):
        index.fold(0, fold_of(version, [version]))
    index.close()

    next(tmp_path.glob("*.run")).unlink()

    with pytest.raises(IndexBroken, match="cannot be opened"):
        opened(tmp_path)


def test_an_index_without_a_manifest_is_empty_and_what_lay_there_is_deleted(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.fold(0, fold_of(0, [1]))
    index.close()
    (tmp_path / "data.mdb").write_bytes(b"an index of a former release")

    (tmp_path / "manifest").unlink()

    again = opened(tmp_path)
    assert (again.version(0), found(again, [1]), list(tmp_path.glob("*.*"))) == (-1, {}, [])
    again.close()


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_breaks_the_index_when_it_has_to_spill_and_never_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = opened(tmp_path)
    monkeypatch.setattr(index_run_writer, "_write_all", no_room)
    for version in range(LIMITS.spill_folds):
        index.fold(0, fold_of(version, [version]))

    with pytest.raises(IndexBroken, match="No space left"):
        index.fold(0, fold_of(LIMITS.spill_folds, [99]))

    assert index.version(0) == LIMITS.spill_folds - 1
    assert [path.name for path in tmp_path.iterdir()] == ["manifest"], "nothing half written takes up room"
    index.abandon()


def test_a_full_disk_puts_merging_off_and_breaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting_thread, "RESTART_PAUSE_S", 0.01)
    index = opened(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(Runs, "_replace", no_room_to_merge)
        fold_so_many(index, LIMITS.spill_folds * (LIMITS.merge_runs + 2))
        full.setattr(dedupe_index, "MERGE_TIMEOUT_S", 0.05)
        with pytest.raises(Unavailable, match="not merged within"):
            index.settle()
        assert len(found(index, range(100))) == LIMITS.spill_folds * (LIMITS.merge_runs + 2)

    index.settle()

    assert len(list(tmp_path.glob("*.run"))) < LIMITS.merge_runs
    assert len(found(index, range(100))) == LIMITS.spill_folds * (LIMITS.merge_runs + 2)
    index.close()


def no_room_to_merge(*_: object) -> None:
    raise IndexUnwritten("no room")


def fold_so_many(index: dedupe_index.DedupeIndex, count: int) -> None:
    for version in range(count):
        index.fold(0, fold_of(version, [version]))


def test_a_fold_waits_for_a_merge_when_there_are_too_many_runs_and_is_refused_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = opened(tmp_path, limits=replace(LIMITS, runs_max=LIMITS.merge_runs))
    with monkeypatch.context() as stuck:
        stuck.setattr(Runs, "_replace", no_room_to_merge)
        stuck.setattr(dedupe_index, "MERGE_TIMEOUT_S", 0.05)
        until_full = LIMITS.spill_folds * (LIMITS.merge_runs + 1)
        fold_so_many(index, until_full)
        with pytest.raises(Unavailable, match="not merged within") as refusal:
            index.fold(0, fold_of(until_full, [0]))
        assert not isinstance(refusal.value, IndexBroken), "it is slow, not broken"
        assert index.version(0) == until_full - 1
    index.abandon()


def test_a_run_that_can_no_longer_be_read_breaks_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting_thread, "RESTART_PAUSE_S", 0.01)
    index = opened(tmp_path)
    fold_so_many(index, LIMITS.spill_folds * 2 + 1)
    for run in tmp_path.glob("*.run"):
        os.truncate(run, run.stat().st_size // 2)
    for version in range(LIMITS.spill_folds * 2 + 1, LIMITS.spill_folds * LIMITS.merge_runs + 1):
        index.fold(0, fold_of(version, [version]))

    with pytest.raises(IndexBroken, match="cannot be read"):
        index.settle()
    with pytest.raises(IndexBroken, match="cannot be read"):
        index.lookup(fold_of(0, [1]).keys)
    index.abandon()


def test_a_run_that_rots_while_it_is_in_use_is_not_merged_into_a_sound_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lasting_thread, "RESTART_PAUSE_S", 0.01)
    index = opened(tmp_path)
    fold_so_many(index, LIMITS.spill_folds * 2 + 1)
    (first, *_) = sorted(tmp_path.glob("*.run"))
    with first.open("r+b") as file:
        file.seek(first.stat().st_size // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))
    for version in range(LIMITS.spill_folds * 2 + 1, LIMITS.spill_folds * LIMITS.merge_runs + 1):
        index.fold(0, fold_of(version, [version]))

    with pytest.raises(IndexBroken, match="damaged"):
        index.settle()
    index.abandon()
