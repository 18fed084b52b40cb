"""Appending and reading, as the port promises them on every backend."""

import threading
from collections.abc import Sequence
from concurrent.futures import wait
from datetime import timedelta
from uuid import UUID

import pytest

from services.eventstore.audit.chain import recorded_leaf
from services.eventstore.event import (
    ANY_VERSION,
    APPEND_EVENTS_MAX,
    BEGINNING,
    NO_STREAM,
    PAYLOAD_BYTES_MAX,
    NewEvent,
    Position,
    RecordedEvent,
    StreamName,
    WrongExpectedVersion,
)
from services.eventstore.store import READ_LIMIT_MAX, EventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import InvalidInput, Unavailable

METER = StreamName("meter", "tokens")
USAGE = StreamName("usage", "0")
WAIT_S = 60.0


def event(number: int, payload: bytes = b"content") -> NewEvent:
    return NewEvent(UUID(int=number), "MeterCreated", 1, payload)


def events(*numbers: int) -> list[NewEvent]:
    return [event(number) for number in numbers]


def numbers(recorded: Sequence[RecordedEvent]) -> list[int]:
    return [each.id.int for each in recorded]


def test_versions_count_from_zero_in_each_stream_without_gaps(store: EventStore) -> None:
    store.append(METER, events(1, 2), NO_STREAM)
    store.append(USAGE, events(3), NO_STREAM)
    store.append(METER, events(4), 1)
    assert [each.version for each in store.read_stream(METER)] == [0, 1, 2]
    assert [each.version for each in store.read_stream(USAGE)] == [0]


def test_positions_order_all_events_of_all_streams(store: EventStore) -> None:
    answers = [store.append(stream, events(n), ANY_VERSION) for n, stream in enumerate([METER, USAGE, METER])]
    page = store.read_all(after=BEGINNING)
    assert [each.position for each in page.events] == [answer.position for answer in answers] == [1, 2, 3]


def test_an_event_is_read_as_it_was_written(store: EventStore, clock: SimulatedClock) -> None:
    stream = StreamName("meter", "Zähler-0/a b-c 計")
    written = NewEvent(UUID("018d6b3c-1111-8222-b333-444455556666"), "MeterCreated", 7, bytes(range(256)) * 40)
    answer = store.append(stream, [written], NO_STREAM)
    (read,) = store.read_stream(stream)
    assert (read.id, read.type, read.schema_version, read.payload) == (
        written.id,
        written.type,
        written.schema_version,
        written.payload,
    )
    assert (read.stream, read.version, read.position) == (stream, 0, answer.position)
    assert read.recorded_at == answer.recorded_at == clock.now()
    assert store.read_all(after=BEGINNING).events == (read,)


def test_an_empty_payload_is_an_event_too(store: EventStore) -> None:
    store.append(METER, [event(1, b"")], NO_STREAM)
    assert store.read_stream(METER)[0].payload == b""


def test_an_append_is_answered_with_place_and_leaves(store: EventStore) -> None:
    store.append(METER, events(1), NO_STREAM)
    answer = store.append(METER, events(2, 3, 4), 0)
    read = store.read_stream(METER, from_version=1)
    assert (answer.position, answer.version) == (read[-1].position, 3)
    assert answer.leaves == tuple(each.leaf for each in read) == tuple(recorded_leaf(each) for each in read)


@pytest.mark.parametrize("expected_version", [NO_STREAM, 0, 2, 10**15])
def test_another_version_than_expected_is_refused_and_nothing_written(store: EventStore, expected_version: int) -> None:
    store.append(METER, events(1, 2), NO_STREAM)
    with pytest.raises(WrongExpectedVersion) as refused:
        store.append(METER, events(8, 9), expected_version)
    assert (refused.value.expected, refused.value.actual) == (expected_version, 1)
    assert numbers(store.read_all(after=BEGINNING).events) == [1, 2]


def test_an_exact_version_is_refused_when_there_is_no_stream(store: EventStore) -> None:
    with pytest.raises(WrongExpectedVersion) as refused:
        store.append(METER, events(1), 0)
    assert refused.value.actual == NO_STREAM
    assert store.read_stream(METER) == ()


@pytest.mark.parametrize(("before", "expected_version"), [((), NO_STREAM), ((1, 2), 1)])
def test_a_repeat_is_answered_like_the_first_time(
    store: EventStore, clock: SimulatedClock, before: tuple[int, ...], expected_version: int
) -> None:
    if before:
        store.append(METER, events(*before), NO_STREAM)
    first = store.append(METER, events(5, 6), expected_version)
    store.append(USAGE, events(7), NO_STREAM)
    store.append(METER, events(8), ANY_VERSION)
    clock.advance(clock.now() + timedelta(hours=1))
    assert store.append(METER, events(5, 6), expected_version) == first
    assert numbers(store.read_stream(METER)) == [*before, 5, 6, 8]


@pytest.mark.parametrize("retried", [(5, 9), (9, 5), (6, 5), (5, 6, 7), (6,)], ids=str)
def test_a_repeat_with_other_events_is_no_repeat(store: EventStore, retried: tuple[int, ...]) -> None:
    store.append(METER, events(5, 6), NO_STREAM)
    with pytest.raises(WrongExpectedVersion):
        store.append(METER, events(*retried), NO_STREAM)
    assert numbers(store.read_stream(METER)) == [5, 6]


def test_two_copies_of_one_append_in_flight_are_written_once(store: EventStore) -> None:
    copies = [store.submit(METER, events(1, 2), NO_STREAM) for _ in range(20)]
    assert len({copy.result(WAIT_S) for copy in copies}) == 1
    assert numbers(store.read_stream(METER)) == [1, 2]


def test_an_append_that_does_not_care_is_written_each_time(store: EventStore) -> None:
    assert store.append(METER, events(1), ANY_VERSION).version == 0
    assert store.append(METER, events(1), ANY_VERSION).version == 1


def test_of_appends_that_race_for_a_version_one_wins(store: EventStore) -> None:
    racers = [store.submit(METER, events(n, 100 + n), NO_STREAM) for n in range(1, 31)]
    wait(racers, WAIT_S)
    won = [racer.result() for racer in racers if racer.exception() is None]
    lost = [racer.exception() for racer in racers if racer.exception() is not None]
    assert len(won) == 1
    assert all(isinstance(error, WrongExpectedVersion) for error in lost)
    assert len(store.read_stream(METER)) == 2


def test_many_callers_append_at_once_and_positions_have_no_gaps(store: EventStore) -> None:
    def append_twenty(caller: int) -> None:
        for n in range(20):
            store.append(StreamName("usage", str(caller)), events(caller * 100 + n), n - 1)

    callers = [threading.Thread(daemon=True, target=append_twenty, args=(caller,)) for caller in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(WAIT_S)
    page = store.read_all(after=BEGINNING)
    assert [each.position for each in page.events] == list(range(1, 161))
    for caller_id in range(8):
        stream = store.read_stream(StreamName("usage", str(caller_id)))
        assert numbers(stream) == [caller_id * 100 + n for n in range(20)]


def test_a_reader_never_sees_a_later_event_before_an_earlier_one(store: EventStore) -> None:
    in_flight = [store.submit(StreamName("usage", str(n % 5)), events(n, n + 1000), ANY_VERSION) for n in range(200)]
    position, seen = BEGINNING, list[int]()
    while len(seen) < 400:
        page = store.read_all(after=position, limit=7)
        seen += [each.position for each in page.events]
        position = page.position
    assert seen == list(range(1, 401))
    wait(in_flight, WAIT_S)


@pytest.mark.parametrize(
    ("stream", "appended", "expected_version"),
    [
        (METER, [], NO_STREAM),
        (METER, [event(n) for n in range(APPEND_EVENTS_MAX + 1)], NO_STREAM),
        (METER, [event(1, bytes(PAYLOAD_BYTES_MAX + 1))], NO_STREAM),
        (METER, events(1), ANY_VERSION - 1),
        (METER, events(1), 2**63),
        (METER, [NewEvent(UUID(int=1), "", 1, b"")], NO_STREAM),
        (METER, [NewEvent(UUID(int=1), "A\x00B", 1, b"")], NO_STREAM),
        (METER, [NewEvent(UUID(int=1), "A", 0, b"")], NO_STREAM),
        (METER, [NewEvent(UUID(int=1), "A", 2**40, b"")], NO_STREAM),
        (StreamName("", "x"), events(1), NO_STREAM),
        (StreamName("meter", ""), events(1), NO_STREAM),
        (StreamName("a-b", "x"), events(1), NO_STREAM),
        (StreamName("$settings", "x"), events(1), NO_STREAM),
        (StreamName("meter", "line\nbreak"), events(1), NO_STREAM),
        (StreamName("meter", "\ud800"), events(1), NO_STREAM),
        (StreamName("meter", "x" * 600), events(1), NO_STREAM),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_stored_is_refused_at_once(
    store: EventStore, stream: StreamName, appended: list[NewEvent], expected_version: int
) -> None:
    with pytest.raises(InvalidInput):
        store.submit(stream, appended, expected_version)
    assert store.head().position == BEGINNING


def test_the_largest_append_fits(store: EventStore) -> None:
    store.append(METER, [event(n, b"x") for n in range(APPEND_EVENTS_MAX)], NO_STREAM)
    store.append(USAGE, [event(1, bytes(PAYLOAD_BYTES_MAX))], NO_STREAM)
    assert store.head().position == APPEND_EVENTS_MAX + 1


def test_a_stream_that_does_not_exist_has_no_events(store: EventStore) -> None:
    store.append(METER, events(1), NO_STREAM)
    assert store.read_stream(StreamName("meter", "other")) == ()
    assert store.read_stream(StreamName("other", "tokens"), from_version=-1, backwards=True) == ()


@pytest.mark.parametrize(
    ("from_version", "limit", "backwards", "expected"),
    [
        (0, 10, False, [1, 2, 3, 4, 5]),
        (2, 2, False, [3, 4]),
        (5, 10, False, []),
        (2**70, 10, False, []),
        (-1, 10, True, [5, 4, 3, 2, 1]),
        (-1, 1, True, [5]),
        (2, 2, True, [3, 2]),
        (0, 10, True, [1]),
        (99, 2, True, [5, 4]),
    ],
)
def test_a_stream_is_read_upwards_and_downwards(
    store: EventStore, from_version: int, limit: int, backwards: bool, expected: list[int]
) -> None:
    store.append(METER, events(1, 2, 3, 4, 5), NO_STREAM)
    store.append(USAGE, events(6), NO_STREAM)
    read = store.read_stream(METER, from_version=from_version, limit=limit, backwards=backwards)
    assert numbers(read) == expected


def test_reads_that_make_no_sense_are_refused(store: EventStore) -> None:
    for limit in (0, -1, READ_LIMIT_MAX + 1):
        with pytest.raises(InvalidInput):
            store.read_stream(METER, limit=limit)
        with pytest.raises(InvalidInput):
            store.read_all(after=BEGINNING, limit=limit)
    with pytest.raises(InvalidInput):
        store.read_stream(METER, from_version=-1)
    with pytest.raises(InvalidInput):
        store.read_all(after=BEGINNING, categories="meter")


def test_the_head_is_the_newest_event(store: EventStore) -> None:
    assert store.head().position == BEGINNING
    for n in range(3):
        answer = store.append(METER, events(n), n - 1)
        assert store.head().position == answer.position


def test_the_chain_changes_with_each_commit(chained_store: EventStore) -> None:
    chains = {chained_store.head().chain}
    for n in range(3):
        chained_store.append(METER, events(n), n - 1)
        chains.add(chained_store.head().chain)
    assert len(chains) == 4


def test_a_position_is_known_by_its_leaf(store: EventStore) -> None:
    answer = store.append(METER, events(1, 2, 3), NO_STREAM)
    read = store.read_all(after=BEGINNING).events
    assert [store.leaf_at(each.position) for each in read] == list(answer.leaves)
    assert store.leaf_at(BEGINNING) == b""
    assert store.leaf_at(Position(answer.position + 1)) == b""


def test_closing_finishes_what_is_queued_and_can_be_repeated(store: EventStore) -> None:
    queued = [store.submit(METER, events(n), n - 1) for n in range(50)]
    store.close()
    store.close()
    assert [future.result(0).version for future in queued] == list(range(50))
    with pytest.raises(Unavailable):
        store.submit(METER, events(99), 49)
    with pytest.raises(Unavailable):
        store.read_all(after=Position(1))
