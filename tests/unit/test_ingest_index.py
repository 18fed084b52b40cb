"""The dedupe index is trusted only where it cannot have lost anything; else it is built anew from the log."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.ingest.index_entries import IndexBroken
from services.ingest.index_folder import IndexFolder
from services.ingest.index_limits import IndexLimits
from services.ingest.index_run import Run
from services.kernel.errors import RuleViolated
from tests.dedupe_entries import LARGE, fold_of, found, opened
from tests.ingest_room import BOOT_ID, LIMITS, Replica, open_room

NEXT_BOOT_ID = "second run of the machine"


def test_the_first_entry_of_a_key_stays(tmp_path: Path) -> None:
    index = opened(tmp_path)

    index.fold(0, fold_of(0, [1, 2]))
    index.fold(0, fold_of(1, [2, 3], content=8))

    assert found(index, [1, 2, 3, 4]) == {1: (7, 1), 2: (7, 1), 3: (8, 2)}
    assert (index.version(0), index.position()) == (1, 2)
    index.close()


def test_the_first_entry_of_a_key_stays_however_often_it_comes_again_and_is_merged(tmp_path: Path) -> None:
    index = opened(tmp_path)

    for version in range(100):
        index.fold(0, fold_of(version, [1, 2, 100 + version], content=version))
    index.settle()

    assert found(index, [1, 2, 100, 199]) == {1: (0, 1), 2: (0, 1), 100: (0, 1), 199: (99, 100)}
    index.close()
    with_all_runs = opened(tmp_path)
    assert found(with_all_runs, [1, 2, 100, 199]) == {1: (0, 1), 2: (0, 1), 100: (0, 1), 199: (99, 100)}
    with_all_runs.close()


def test_of_a_key_that_stands_twice_in_one_event_the_first_counts(tmp_path: Path) -> None:
    index = opened(tmp_path)
    twice = fold_of(0, [5, 6, 5])
    twice.contents[:] = (1, 2, 3)

    index.fold(0, twice)

    assert found(index, [5, 6]) == {5: (1, 1), 6: (2, 1)}
    index.close()
    again = opened(tmp_path)
    assert found(again, [5, 6]) == {5: (1, 1), 6: (2, 1)}
    again.close()


def test_an_event_that_does_not_follow_the_checkpoint_changes_nothing(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.fold(0, fold_of(0, [1]))
    before = index.digest()

    assert [index.fold(0, fold_of(version, [9])) for version in (0, 2)] == [False, False]
    assert (index.digest(), index.version(0), index.version(1)) == (before, 0, -1)
    index.close()


def test_partitions_stand_at_versions_of_their_own(tmp_path: Path) -> None:
    index = opened(tmp_path)
    for version in range(20):
        index.fold(1, fold_of(version, [version]))
    index.fold(0, fold_of(0, [100]))
    index.close()

    again = opened(tmp_path)

    assert (again.version(0), again.version(1), again.version(2)) == (0, 19, -1)
    assert again.checkpoints()[1] == fold_of(19, []).checkpoint
    again.close()


def test_an_event_without_usage_only_moves_the_checkpoint(tmp_path: Path) -> None:
    index = opened(tmp_path)
    for version in range(3 * LIMITS.spill_folds):
        index.fold(0, fold_of(version, []))
    index.close()

    again = opened(tmp_path)

    assert again.version(0) == 3 * LIMITS.spill_folds - 1
    assert [path.name for path in tmp_path.iterdir()] == ["manifest"]
    again.close()


def test_a_digest_does_not_depend_on_how_the_entries_were_spilled_and_merged(tmp_path: Path) -> None:
    digests = set()
    for name, limits in (
        ("all in memory", IndexLimits()),
        ("many runs", replace(LIMITS, merge_runs=100)),
        ("merged", LIMITS),
        ("few large runs", LARGE),
    ):
        index = opened(tmp_path / name, limits=limits)
        for version in range(60):
            index.fold(0, fold_of(version, range(version * 30, version * 50)))
        index.settle()
        digests.add(index.digest())
        index.close()
        again = opened(tmp_path / name)
        digests.add(again.digest())
        again.abandon()

    assert len(digests) == 1


def test_a_run_that_was_merged_away_is_read_to_its_end(tmp_path: Path) -> None:
    """Whoever compares two indexes reads runs for minutes; a merge deletes their files meanwhile."""
    index = opened(tmp_path, limits=LARGE)
    index.fold(0, fold_of(0, range(1_000)))
    index.fold(0, fold_of(1, [1_000]))
    (path,) = tmp_path.glob("*.run")
    run = Run(path)
    before = run.read(0, 1_000)

    path.unlink()

    assert len(before) == 1_000
    assert all((old == new).all() for old, new in zip(before.columns(), run.read(0, 1_000).columns(), strict=True))
    index.abandon()


def test_a_digest_tells_contents_and_positions_and_is_of_one_index_but_for_how_many_keys_it_has(tmp_path: Path) -> None:
    def digest(name: str, *folds: tuple[int, int, int]) -> tuple[str, str]:
        index = opened(tmp_path / name)
        for version, number, content in folds:
            index.fold(0, fold_of(version, [number], content))
        said, rest = index.digest().split("-")
        index.abandon()
        return said, rest

    one = digest("one", (0, 1, 7), (1, 2, 7))
    other_content = digest("other content", (0, 1, 8), (1, 2, 7))
    other_position = digest("other position", (0, 2, 7), (1, 1, 7))
    other_keys = digest("keys as another secret codes them", (0, 11, 7), (1, 12, 7))
    more = digest("one more", (0, 1, 7), (1, 2, 7), (2, 3, 7))

    assert digest("the same", (0, 1, 7), (1, 2, 7)) == one
    assert len({one[1], other_content[1], other_position[1], other_keys[1], more[1]}) == 5
    assert {other_content[0], other_position[0], other_keys[0]} == {one[0]} != {more[0]}


def test_an_index_of_many_keys_in_few_runs_finds_all_of_them_and_no_other(tmp_path: Path) -> None:
    index = opened(tmp_path, limits=LARGE)
    for version in range(20):
        index.fold(0, fold_of(version, range(version * 1_000, version * 1_000 + 1_000)))
    index.settle()

    assert len(list(tmp_path.glob("*.run"))) < LARGE.merge_runs * 2
    assert found(index, range(20_000)) == {number: (7, number // 1_000 + 1) for number in range(20_000)}
    assert found(index, range(20_000, 40_000)) == {}
    index.close()


def test_an_index_left_by_a_killed_process_goes_on_from_what_it_had_spilled(tmp_path: Path) -> None:
    index = opened(tmp_path)
    for version in range(LIMITS.spill_folds * 3 + 2):
        index.fold(0, fold_of(version, [version]))
    whole = index.digest()
    index.abandon()

    again = opened(tmp_path)

    assert again.version(0) == LIMITS.spill_folds * 3 - 1, "the rest is folded from the log once more"
    assert sorted(found(again, range(100))) == list(range(LIMITS.spill_folds * 3))
    for version in range(again.version(0) + 1, LIMITS.spill_folds * 3 + 2):
        again.fold(0, fold_of(version, [version]))
    assert again.digest() == whole
    again.close()


def test_an_index_closed_in_order_is_used_again_after_the_machine_was_started_anew(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.fold(0, fold_of(0, [1]))
    index.close()

    again = opened(tmp_path, NEXT_BOOT_ID)

    assert (again.version(0), found(again, [1])) == (0, {1: (7, 1)})
    again.close()


@pytest.mark.parametrize(("boot_id", "next_boot_id"), [(BOOT_ID, NEXT_BOOT_ID), ("", ""), (BOOT_ID, ""), ("", BOOT_ID)])
def test_an_index_in_use_when_the_machine_stopped_is_not_trusted(
    tmp_path: Path, boot_id: str, next_boot_id: str
) -> None:
    opened(tmp_path, boot_id).abandon()

    with pytest.raises(IndexBroken, match="machine stopped"):
        opened(tmp_path, next_boot_id)


def test_an_index_that_was_opened_again_after_it_was_closed_is_in_use_again(tmp_path: Path) -> None:
    opened(tmp_path).close()
    opened(tmp_path).abandon()

    with pytest.raises(IndexBroken, match="machine stopped"):
        opened(tmp_path, NEXT_BOOT_ID)


def test_an_index_of_another_log_is_refused_and_kept(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.fold(0, fold_of(0, [1]))
    index.close()

    with pytest.raises(RuleViolated, match="of another log") as refusal:
        opened(tmp_path, secret=b"another log")

    assert refusal.value.reason == "LOG_REWOUND"
    again = opened(tmp_path)
    assert again.version(0) == 0
    again.close()


def test_two_processes_never_share_an_index(tmp_path: Path) -> None:
    with open_room(tmp_path) as room:
        digests = Replica(room.store, tmp_path / "a", room.clock).live.digests
    first, second = IndexFolder(tmp_path, digests), IndexFolder(tmp_path, digests)
    first.lock()

    with pytest.raises(RuleViolated, match="another ingest process"):
        second.lock()

    first.unlock()
    second.lock()
    second.unlock()
