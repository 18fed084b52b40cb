"""Laws of the archive of usage: it never changes an answer, however it grew, was merged, shortened or damaged."""

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.aggregator.archive import time_cut
from services.aggregator.archive.archived_file import ArchivedFile
from services.aggregator.archive.compaction import AT_ONCE, Appetite, next_merge
from services.aggregator.archive.time_cut import DAY_US, FILES_MAX, cut_times
from services.aggregator.usage.archived_usage import EARLIEST_US, LATEST_US
from services.aggregator.usage.usage_reading import Extent
from services.aggregator.usage.usage_table import HOUR_US
from services.eventstore.event import Position
from services.kernel.clock import epoch_us
from tests.archive_room import COLUMNS, ArchiveRoom, open_archive
from tests.plain_usage import Event

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
DAYS = 4
instants = st.one_of(
    st.integers(-DAYS * 24, DAYS * 24).map(lambda hours: NOON + timedelta(hours=hours)),
    st.integers(0, 3 * 86_400_000_000).map(lambda us: NOON + timedelta(microseconds=us)),
    st.sampled_from([datetime(1, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)]),
)
usage_events = st.builds(
    Event,
    st.sampled_from(["call", "other"]),
    st.sampled_from(["ann", "bob", "ann-b", "ä"]),
    instants,
    st.integers(-(10**20), 10**20).map(lambda number: Decimal(number).scaleb(-12)),
    st.fixed_dictionaries({}, optional={"region": st.sampled_from(["eu", "us", ""]), "size": st.just("7")}),
)
batches = st.lists(usage_events, min_size=1, max_size=6)
STEPS = ("archive", "archive", "merge", "merge two", "retain", "lose a file", "damage a file", "repair", "forget it")
steps = st.lists(st.tuples(batches, st.sampled_from(STEPS), st.integers(0, 5)), min_size=3, max_size=10)


@st.composite
def extents(draw: st.DrawFn) -> Extent:
    start, end = sorted(epoch_us(draw(instants)) for _ in range(2))
    hours = None
    if draw(st.booleans()):
        first = start - start % HOUR_US
        hours = tuple(first + HOUR_US * number for number in sorted(draw(st.sets(st.integers(0, 60), max_size=5))))
    subjects = draw(st.sampled_from([(), ("ann",), ("ann", "ä", "nobody"), ("bob",)]))
    types = draw(st.sampled_from([(), ("call",), ("call", "other")]))
    wide = draw(st.booleans())
    return Extent(EARLIEST_US if wide else start, LATEST_US if wide else end + 1, subjects, types, hours)


def take(room: ArchiveRoom, step: str, number: int) -> None:
    """One thing that can happen to an archive."""
    files = room.archive.listing.files
    match step:
        case "archive":
            room.growth.archive_some()
        case "merge":
            room.housekeeping.merge_some(AT_ONCE)
        case "merge two":
            room.housekeeping.merge_some(Appetite(2, (4, 8)))
        case "retain":
            room.housekeeping.retain(epoch_us(NOON) // DAY_US * DAY_US + (number - 3) * DAY_US)
        case "lose a file" if files:
            (room.path / files[number % len(files)].name).unlink(missing_ok=True)
        case "damage a file" if files:
            damage(room.path / files[number % len(files)].name, number)
        case "repair":
            room.housekeeping.repair()
        case "forget it":
            room.archive.begin_anew("a test wants it")


def damage(path: Path, number: int) -> None:
    if path.exists():
        content = bytearray(path.read_bytes())
        content[(len(content) * number // 6) % len(content)] ^= 0xFF
        path.write_bytes(content)


@settings(max_examples=25, deadline=None)
@given(
    steps=steps,
    files_max=st.sampled_from([1, 2, FILES_MAX]),
    asked=st.lists(st.tuples(extents(), st.integers(0, 9)), min_size=1, max_size=6),
    columns=st.sampled_from(
        [COLUMNS, ("subject", "type", "value"), ("subject", "type", "p.size", "p.none"), ("id", "subject", "type")]
    ),
)
def test_usage_read_with_an_archive_is_usage_read_from_the_log(
    steps: list[tuple[list[Event], str, int]],
    files_max: int,
    asked: list[tuple[Extent, int]],
    columns: Sequence[str],
) -> None:
    few_files = patch.object(time_cut, "FILES_MAX", files_max)
    with tempfile.TemporaryDirectory() as folder, few_files, open_archive(Path(folder)) as room:
        room.archive.open()
        for batch, step, number in steps:
            room.record(batch, partition=str(number % 2))
            take(room, step, number)
        assert room.read() == room.read_log()
        for extent, until in asked:
            position = Position(until) if until else None
            assert room.read(extent, position, columns) == room.read_log(extent, position, columns)


@settings(max_examples=100, deadline=None)
@given(
    days=st.lists(st.one_of(st.integers(19_700, 19_760), st.integers(-719_162, 2_932_896)), min_size=1, max_size=200),
    offset=st.integers(0, DAY_US - 1),
)
def test_every_instant_lies_in_one_stretch_and_there_are_not_too_many(days: list[int], offset: int) -> None:
    instants_us = np.array([day * DAY_US + offset for day in days], np.int64)
    stretches = cut_times(instants_us)
    assert len(stretches) <= FILES_MAX
    assert all(before.end_us <= after.start_us for before, after in pairwise(stretches))
    assert all(any(each.start_us <= instant < each.end_us for each in stretches) for instant in instants_us.tolist())
    if len(set(days)) <= FILES_MAX:
        assert [each.start_us for each in stretches] == [day * DAY_US for day in sorted(set(days))]
        assert {each.end_us - each.start_us for each in stretches} == {DAY_US}


@st.composite
def archives(draw: st.DrawFn) -> list[ArchivedFile]:
    """Files of pools: each pool is a span, cut into stretches that share no instant."""
    files: list[ArchivedFile] = []
    cuts = st.sampled_from([[(0, 1), (1, 2), (2, 3)], [(0, 3)], [(0, 1)], [(1, 2)], [(0, 2), (2, 3)]])
    for pool in range(draw(st.integers(1, 12))):
        for start, end in draw(cuts):
            rows = draw(st.sampled_from([1, 7_999, 8_000, 63_000, 511_999, 512_000, 900_000]))
            name = f"{pool}/{start}-{end}"
            span = (Position(pool), Position(pool + 1))
            files.append(ArchivedFile(name, *span, start * DAY_US, end * DAY_US, rows, rows * 30, b"", b"", b""))
    return files


@settings(max_examples=200, deadline=None)
@given(files=archives(), appetite=st.sampled_from([AT_ONCE, Appetite(2, (8_000, 64_000)), Appetite(3, (512_000,))]))
def test_merging_ends_and_no_two_files_ever_hold_the_same_usage(files: list[ArchivedFile], appetite: Appetite) -> None:
    rows = sum(file.rows for file in files)
    for _ in range(100):
        merged = next_merge(files, appetite)
        if not merged:
            break
        assert len(merged) >= appetite.files_min
        first, last = merged[0], merged[-1]
        span = (first.after, last.until, first.start_us, first.end_us)
        total, size = sum(file.rows for file in merged), sum(file.size for file in merged)
        one = ArchivedFile(f"{first.name}+{last.name}", *span, total, size, b"", b"", b"")
        files = [file for file in files if file not in merged] + [one]
    else:
        raise AssertionError("merging does not end")
    assert sum(file.rows for file in files) == rows
    assert not [(a, b) for a in files for b in files if a is not b and overlap(a, b)]


def overlap(one: ArchivedFile, other: ArchivedFile) -> bool:
    return one.meets(other.start_us, other.end_us) and one.after < other.until and other.after < one.until
