"""What every backend does with the events of another log: takes them leaf for leaf, or refuses and keeps its own."""

import threading
from dataclasses import replace

import pytest

from services.eventstore.audit.auditable import AuditableStore
from services.eventstore.audit.chain import Commit, merkle_root, next_chain, recorded_leaf
from services.eventstore.audit.verify import verify
from services.eventstore.event import BEGINNING, NO_STREAM, Batch, NewEvent, Position, RecordedEvent
from services.eventstore.memory import MemoryEventStore
from services.eventstore.restoring import RestorableStore
from services.eventstore.store import EventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Conflict, Corrupt
from tests.archives import COMMIT_SIZES, EVENT_COUNT, START, STREAMS, all_events, fill, filled, leaves

Whole = tuple[list[RecordedEvent], list[Commit]]


def whole(origin: MemoryEventStore) -> Whole:
    return list(all_events(origin)), list(origin.read_commits(after=BEGINNING))


def restore(store: EventStore, events: list[RecordedEvent], commits: list[Commit]) -> None:
    assert isinstance(store, RestorableStore)
    store.restore(events, commits)


@pytest.fixture
def origin() -> MemoryEventStore:
    return filled()


def test_the_events_of_another_log_stand_leaf_for_leaf_and_in_its_order(
    store: EventStore, origin: MemoryEventStore
) -> None:
    restore(store, *whole(origin))
    assert leaves(store) == leaves(origin)
    assert [recorded_leaf(event) for event in all_events(store)] == leaves(origin)
    for stream in STREAMS:
        found = store.read_stream(stream)
        assert [replace(event, position=BEGINNING) for event in found] == [
            replace(event, position=BEGINNING) for event in origin.read_stream(stream)
        ]
    usage = store.read_all(after=BEGINNING, categories=["usage"]).events
    assert [event.leaf for event in usage] == [event.leaf for event in origin.read_stream(STREAMS[0])]


def test_a_log_with_commits_gets_those_of_the_origin_and_verifies(store: EventStore, origin: MemoryEventStore) -> None:
    restore(store, *whole(origin))
    if isinstance(store, AuditableStore):
        assert store.head() == origin.head()
        assert store.read_commits(after=BEGINNING) == origin.read_commits(after=BEGINNING)
        assert verify(store).events == EVENT_COUNT
        assert verify(store).verified


def test_what_was_restored_already_is_passed_over(store: EventStore, origin: MemoryEventStore) -> None:
    events, commits = whole(origin)
    restore(store, events[:5], commits[:2])
    restore(store, events[:5], commits[:2])
    restore(store, events[2:6], commits[1:3])
    restore(store, events, commits)
    restore(store, events, commits)
    assert leaves(store) == leaves(origin)


def test_nothing_to_restore_changes_nothing(store: EventStore) -> None:
    restore(store, [], [])
    assert store.head().position == BEGINNING


def test_the_log_goes_on_behind_what_was_restored(store: EventStore, origin: MemoryEventStore) -> None:
    restore(store, *whole(origin))
    newest = origin.read_stream(STREAMS[0])[-1]
    repeated = NewEvent(newest.id, newest.type, newest.schema_version, newest.payload)
    again = store.append(STREAMS[0], [repeated], newest.version - 1)
    assert again.leaves == (newest.leaf,)
    assert again.recorded_at == newest.recorded_at
    appended = store.append(STREAMS[0], [repeated], newest.version)
    assert appended.version == newest.version + 1
    assert len(leaves(store)) == EVENT_COUNT + 1
    if isinstance(store, AuditableStore):
        assert verify(store).verified


def test_who_follows_the_log_gets_what_is_restored(store: EventStore, origin: MemoryEventStore) -> None:
    stop, got = threading.Event(), list[bytes]()
    following = store.subscribe(after=BEGINNING, stop=stop)
    next(following)
    restore(store, *whole(origin))
    while len(got) < EVENT_COUNT:
        news = next(following)
        got += [event.leaf for event in news.events] if isinstance(news, Batch) else []
    stop.set()
    assert got == leaves(origin)


def test_a_log_that_holds_something_else_keeps_it_and_says_so(store: EventStore, origin: MemoryEventStore) -> None:
    fill(store, [1, 1, 1], first_id=500)
    before = leaves(store)
    with pytest.raises(Conflict) as refused:
        restore(store, *whole(origin))
    assert refused.value.reason == "LOG_DIFFERS"
    assert leaves(store) == before


def test_what_differs_in_a_shorter_log_is_named_by_a_position_that_it_has(
    store: EventStore, origin: MemoryEventStore
) -> None:
    fill(store, [2], first_id=500)
    with pytest.raises(Conflict) as refused:
        restore(store, *whole(origin))
    assert refused.value.metadata["position"] in ("1", "2")


def test_a_log_that_went_on_differently_keeps_what_it_has(store: EventStore, origin: MemoryEventStore) -> None:
    events, commits = whole(origin)
    restore(store, events[:5], commits[:2])
    fill(store, [1], first_id=500)
    before = leaves(store)
    with pytest.raises(Conflict) as refused:
        restore(store, events, commits)
    assert refused.value.reason == "LOG_DIFFERS"
    assert leaves(store) == before


def test_commits_with_a_gap_before_them_are_refused(store: EventStore, origin: MemoryEventStore) -> None:
    events, commits = whole(origin)
    if isinstance(store, AuditableStore):
        with pytest.raises(Conflict, match="what lies between"):
            restore(store, events[2:5], commits[1:2])
        assert leaves(store) == []


def changed_payload(events: list[RecordedEvent], commits: list[Commit]) -> Whole:
    return [*events[:4], replace(events[4], payload=b"other"), *events[5:]], commits


def changed_payload_and_leaf(events: list[RecordedEvent], commits: list[Commit]) -> Whole:
    forged = replace(events[4], payload=b"other")
    return [*events[:4], replace(forged, leaf=recorded_leaf(forged)), *events[5:]], commits


def changed_root(events: list[RecordedEvent], commits: list[Commit]) -> Whole:
    return events, [commits[0], replace(commits[1], root=bytes(32)), *commits[2:]]


def changed_chain(events: list[RecordedEvent], commits: list[Commit]) -> Whole:
    return events, [commits[0], replace(commits[1], chain=bytes(32)), *commits[2:]]


def missing_event(events: list[RecordedEvent], commits: list[Commit]) -> Whole:
    return events[:4] + events[5:], commits


def surplus_event(events: list[RecordedEvent], commits: list[Commit]) -> Whole:
    return events, commits[:-1]


def swapped_events(events: list[RecordedEvent], commits: list[Commit]) -> Whole:
    return [*events[:3], events[4], events[3], *events[5:]], commits


def missing_commit(events: list[RecordedEvent], commits: list[Commit]) -> Whole:
    return events[:2] + events[5:], [commits[0], *commits[2:]]


def endless_commit(events: list[RecordedEvent], commits: list[Commit]) -> Whole:
    return events, [replace(commits[0], last_position=Position(2**62)), *commits[1:]]


DAMAGES = [
    changed_payload,
    changed_payload_and_leaf,
    changed_root,
    changed_chain,
    missing_event,
    surplus_event,
    swapped_events,
    missing_commit,
    endless_commit,
]


def test_what_is_not_as_it_was_recorded_is_refused_whole(store: EventStore, origin: MemoryEventStore) -> None:
    for damage in DAMAGES:
        with pytest.raises(Corrupt):
            restore(store, *damage(*whole(origin)))
        assert leaves(store) == [], damage.__name__


def test_a_stream_with_a_gap_is_refused(store: EventStore) -> None:
    (event,) = all_events(filled([1]))
    jumped = replace(event, version=7)
    jumped = replace(jumped, leaf=recorded_leaf(jumped))
    root = merkle_root([jumped.leaf])
    commit = Commit(Position(1), Position(1), root, next_chain(bytes(32), root, 1))
    with pytest.raises(Corrupt, match="version 7, not 0"):
        restore(store, [jumped], [commit])
    assert store.read_stream(event.stream) == ()
    store.append(event.stream, [NewEvent(event.id, event.type, 1, b"")], NO_STREAM)


def test_the_instants_of_the_origin_are_kept(store: EventStore, clock: SimulatedClock) -> None:
    origin = filled(COMMIT_SIZES)
    clock.advance(START.replace(year=2030))
    restore(store, *whole(origin))
    assert {event.recorded_at for event in all_events(store)} == {START}
