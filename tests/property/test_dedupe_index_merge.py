"""Runs of the dedupe index are merged without losing a key, changing an entry, or giving one twice."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest import index_merge
from services.ingest.index_entries import Entries, in_key_order, order_of
from services.ingest.index_limits import IndexLimits, due, level_of
from services.ingest.index_merge import SortedEntries, merged
from services.ingest.index_merger import Merger
from tests.dedupe_entries import fold_of, found, opened
from tests.ingest_room import LIMITS

Key = tuple[int, int]
KEYS = st.tuples(st.integers(0, 3), st.integers(0, 3))
RUNS = st.lists(st.lists(KEYS, max_size=12), max_size=5)


def entries_of(run: int, keys: Sequence[Key]) -> Entries:
    """Entries that say which run, and which row of it, they were in."""
    halves = np.array(keys, np.uint64).reshape(-1, 2)
    return Entries(
        halves[:, 0].copy(), halves[:, 1].copy(), np.arange(len(keys), dtype=np.uint64), np.full(len(keys), run)
    )


def rows_of(entries: Entries) -> list[tuple[Key, tuple[int, int]]]:
    hi, lo, contents, positions = (column.tolist() for column in entries.columns())
    return list(zip(zip(hi, lo, strict=True), zip(positions, contents, strict=True), strict=True))


@settings(deadline=None)
@given(RUNS, st.integers(1, 4))
def test_a_merge_gives_the_first_entry_of_each_key_in_key_order_whatever_fits_into_memory(
    runs: list[list[Key]], part_rows: int
) -> None:
    expected: dict[Key, tuple[int, int]] = {}
    for run, keys in enumerate(runs):
        for row, key in enumerate(keys):
            expected.setdefault(key, (run, row))

    with mock.patch.object(index_merge, "PART_ROWS", part_rows):
        parts = list(merged([SortedEntries(in_key_order(entries_of(run, keys))) for run, keys in enumerate(runs)]))

    assert [row for part in parts for row in rows_of(part)] == sorted(expected.items())


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(0, 5), st.integers(2**63, 2**63 + 40), st.integers(0, 2**64 - 1))))
def test_the_order_of_values_is_stable_also_where_they_are_near(numbers: list[int]) -> None:
    values = np.array(numbers, np.uint64)

    assert values[order_of(values)].tolist() == sorted(numbers)


@settings(deadline=None)
@given(st.lists(st.integers(1, 5_000), max_size=40))
def test_what_is_due_is_neighbours_and_in_the_end_few_runs_are_left(rows: list[int]) -> None:
    limits, turns = IndexLimits(spill_keys=10, merge_runs=3), 0

    while (block := due(rows, limits)) is not None:
        assert block.stop - block.start >= limits.merge_runs
        rows = [*rows[: block.start], sum(rows[block]), *rows[block.stop :]]
        turns += 1

    assert turns <= 40
    levels = level_of(max(rows, default=0), limits) + 1
    assert len(rows) <= (limits.merge_runs - 1) * levels, "few of each level"


def test_older_runs_that_are_merged_stay_older_than_a_newer_one(tmp_path: Path) -> None:
    with mock.patch.object(Merger, "start"):
        index = opened(tmp_path, limits=replace(LIMITS, spill_keys=2, merge_runs=2))
    for version, numbers in enumerate(([1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [1, 11], [12])):
        index.fold(0, fold_of(version, numbers, content=version))
    assert [len(run) for run in index._runs.all()] == [5, 5, 2]

    index._runs.merge(lambda: False)

    assert [len(run) for run in index._runs.all()] == [10, 2]
    assert found(index, [1, 11]) == {1: (0, 1), 11: (2, 3)}
    index.close()
