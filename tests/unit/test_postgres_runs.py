"""Runs: which events are stored together, and which of them a read takes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.eventstore.event import Position, RecordedEvent, StreamName
from services.eventstore.postgres.event_rows import binary_copy
from services.eventstore.postgres.run import (
    RUN_BYTES_MAX,
    RUN_EVENTS_MAX,
    Run,
    runs_of_events,
    slices_of_page,
    slices_of_versions,
)

START = datetime(2024, 1, 31, tzinfo=UTC)
A, B = StreamName("a", "0"), StreamName("b", "0")


def event(position: int, stream: StreamName, version: int, size: int = 1, after_us: int = 0) -> RecordedEvent:
    recorded_at = START + timedelta(microseconds=after_us)
    return RecordedEvent(Position(position), stream, version, UUID(int=position), "T", 1, recorded_at, bytes(size), b"")


def spans(runs: tuple[Run, ...]) -> list[tuple[str, int, int, int]]:
    return [(run.stream.category, run.first_position, run.last_position, run.first_version) for run in runs]


def test_neighbours_of_one_stream_and_instant_are_one_run() -> None:
    events = [event(1, A, 0), event(2, A, 1), event(3, B, 0), event(4, A, 2)]
    assert spans(runs_of_events(events)) == [("a", 1, 2, 0), ("b", 3, 3, 0), ("a", 4, 4, 2)]


def test_a_run_ends_where_the_instant_changes() -> None:
    assert len(runs_of_events([event(1, A, 0), event(2, A, 1, after_us=1)])) == 2


def test_a_run_stays_small_enough_to_be_weighed() -> None:
    many = [event(number + 1, A, number) for number in range(RUN_EVENTS_MAX + 1)]
    assert [run.event_count for run in runs_of_events(many)] == [RUN_EVENTS_MAX, 1]
    heavy = [event(number + 1, A, number, size=RUN_BYTES_MAX // 2) for number in range(3)]
    assert [run.payload_bytes for run in runs_of_events(heavy)] == [RUN_BYTES_MAX, RUN_BYTES_MAX // 2]


RUNS = st.lists(st.tuples(st.sampled_from([A, B]), st.integers(1, 5)), min_size=1, max_size=8)


@given(RUNS, st.integers(0, 30), st.integers(1, 12))
def test_a_page_takes_the_next_events_and_no_others(
    shape: list[tuple[StreamName, int]], after: int, limit: int
) -> None:
    runs = laid_out(shape)
    end = runs[-1].last_position - 1
    slices = slices_of_page(runs, after, end, limit, bytes_max=10**9)
    taken = [position for each in slices for position in range(each.first_position, each.last_position + 1)]
    assert taken == list(range(after + 1, end + 1))[:limit]


@given(RUNS, st.integers(0, 10), st.integers(0, 10))
def test_the_versions_of_a_stream_are_found_at_their_positions(
    shape: list[tuple[StreamName, int]], first: int, last: int
) -> None:
    runs = [run for run in laid_out(shape) if run.stream == A]
    slices = slices_of_versions(runs, first, last)
    versions = [
        position - each.run.first_position + each.run.first_version
        for each in slices
        for position in range(each.first_position, each.last_position + 1)
    ]
    count = sum(run.event_count for run in runs)
    assert versions == list(range(first, min(last + 1, count)))


def laid_out(shape: list[tuple[StreamName, int]]) -> list[Run]:
    """Runs one behind the other, of so many events each; every event weighs one byte."""
    runs: list[Run] = []
    position, versions = 1, {A: 0, B: 0}
    for stream, count in shape:
        runs.append(Run(stream, position, position + count - 1, versions[stream], 0, count))
        position += count
        versions[stream] += count
    return runs


def test_a_page_ends_with_the_run_that_makes_it_heavy() -> None:
    runs = [Run(A, 1, 4, 0, 0, 40), Run(A, 5, 6, 4, 0, 40), Run(A, 7, 9, 6, 0, 40)]
    assert [each.run for each in slices_of_page(runs, 0, 9, 100, bytes_max=80)] == runs[:2]
    assert [each.run for each in slices_of_page(runs, 2, 9, 100, bytes_max=80)] == runs


def test_the_versions_of_a_run_count_up_with_its_positions() -> None:
    run = Run(A, 11, 14, 3, 0, 4)
    assert (run.event_count, run.last_version) == (4, 6)
    assert replace(run, last_position=11).last_version == 3


def test_a_row_goes_out_in_the_bytes_of_the_copy_format() -> None:
    row = (258, UUID(int=7), 1, "Ä", b"pay", b"leaf")
    expected = (
        b"PGCOPY\n\xff\r\n\x00" + bytes(8) + b"\x00\x06"
        b"\x00\x00\x00\x08" + (258).to_bytes(8, "big") + b"\x00\x00\x00\x10" + UUID(int=7).bytes + b"\x00\x00\x00\x04"
        b"\x00\x00\x00\x01"
        b"\x00\x00\x00\x02\xc3\x84"
        b"\x00\x00\x00\x03pay"
        b"\x00\x00\x00\x04leaf"
        b"\xff\xff"
    )
    assert b"".join(binary_copy([row])) == expected
