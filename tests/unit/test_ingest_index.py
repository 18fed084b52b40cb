"""The dedupe index is trusted only where it cannot have lost anything; else it is built anew from the log."""

import os
from pathlib import Path

import pytest

from services.eventstore.event import Position
from services.ingest.dedupe_index import Checkpoint, DedupeIndex, Fold, entry_content, entry_of, entry_position
from services.ingest.growing_map import IndexBroken
from services.ingest.index_folder import IndexFolder
from services.kernel.errors import RuleViolated
from tests.ingest_room import BOOT_ID, MAP_BYTES

NEXT_BOOT_ID = "second run of the machine"


def opened(folder: Path, boot_id: str = BOOT_ID) -> DedupeIndex:
    return DedupeIndex(folder, boot_id, MAP_BYTES)


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def fold(version: int, *numbers: int, content: bytes = b"content.") -> Fold:
    keys = [key(number) for number in numbers]
    return Fold(Checkpoint(version, Position(version + 1), version.to_bytes(16, "big")), keys, [content] * len(keys))


def test_an_entry_tells_content_and_position() -> None:
    entry = entry_of(b"content.", Position(2**40))

    assert (entry_content(entry), entry_position(entry)) == (b"content.", 2**40)


def test_the_first_entry_of_a_key_stays(tmp_path: Path) -> None:
    index = opened(tmp_path)

    index.fold(0, fold(0, 1, 2))
    index.fold(0, fold(1, 2, 3, content=b"another."))

    found = index.lookup([key(1), key(2), key(3), key(4)])
    assert {number: entry_content(found[key(number)]) for number in (1, 2, 3)} == {
        1: b"content.",
        2: b"content.",
        3: b"another.",
    }
    assert (key(4) in found, entry_position(found[key(2)]), index.version(0), index.position()) == (False, 1, 1, 2)
    index.close()


def test_an_event_that_does_not_follow_the_checkpoint_changes_nothing(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.fold(0, fold(0, 1))
    before = index.digest()

    assert [index.fold(0, fold(version, 9)) for version in (0, 2)] == [False, False]
    assert (index.digest(), index.version(0), index.version(1)) == (before, 0, -1)
    index.close()


def test_an_index_grows_as_it_fills(tmp_path: Path) -> None:
    index = opened(tmp_path)

    for version in range(20):
        index.fold(0, fold(version, *range(version * 1_000, (version + 1) * 1_000)))

    assert (tmp_path / "data.mdb").stat().st_size > 2 * MAP_BYTES
    index.abandon()
    again = opened(tmp_path)
    assert (len(again.lookup([key(number) for number in range(20_000)])), again.version(0)) == (20_000, 19)
    again.close()


def test_an_index_left_by_a_killed_process_is_used_again(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.fold(0, fold(0, 1))
    index.abandon()

    again = opened(tmp_path)

    assert key(1) in again.lookup([key(1)])
    again.close()


def test_an_index_closed_in_order_is_used_again_after_the_machine_was_started_anew(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.fold(0, fold(0, 1))
    index.close()

    again = opened(tmp_path, NEXT_BOOT_ID)

    assert again.version(0) == 0
    again.close()


@pytest.mark.parametrize(("boot_id", "next_boot_id"), [(BOOT_ID, NEXT_BOOT_ID), ("", ""), (BOOT_ID, ""), ("", BOOT_ID)])
def test_an_index_in_use_when_the_machine_stopped_is_not_trusted(
    tmp_path: Path, boot_id: str, next_boot_id: str
) -> None:
    opened(tmp_path, boot_id).abandon()

    with pytest.raises(IndexBroken, match="machine stopped"):
        opened(tmp_path, next_boot_id)


def cut_in_half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def cut_a_little(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 4_096)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def scribble(file: Path) -> None:
    file.write_bytes(os.urandom(file.stat().st_size))


def zero(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


DAMAGES = [cut_in_half, cut_a_little, empty, scribble, zero]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_never_used_as_it_is(tmp_path: Path, damage: object) -> None:
    index = opened(tmp_path)
    for version in range(5):
        index.fold(0, fold(version, *range(version * 1_000, (version + 1) * 1_000)))
    index.close()

    damage(tmp_path / "data.mdb")  # type: ignore[operator]  # one of DAMAGES

    try:
        again = opened(tmp_path)
    except IndexBroken:
        return
    assert again.version(0) == -1, "nothing of it is believed, so the log is folded anew"
    again.abandon()


def test_two_processes_never_share_an_index(tmp_path: Path) -> None:
    first, second = IndexFolder(tmp_path), IndexFolder(tmp_path)
    first.lock()

    with pytest.raises(RuleViolated, match="another ingest process"):
        second.lock()

    first.unlock()
    second.lock()
    second.unlock()
