"""An archive of any log, taken over by any backend: the same leaves in the same order, resumed, or refused."""

import pytest

from services.eventstore.archive.exporting import Span
from services.eventstore.archive.importing import import_archive
from services.eventstore.archive.reading import ArchiveDamaged
from services.eventstore.audit.auditable import AuditableStore
from services.eventstore.audit.verify import verify
from services.eventstore.event import ANY_VERSION, BEGINNING, PAYLOAD_BYTES_MAX, NewEvent, Position
from services.eventstore.memory import MemoryEventStore
from services.eventstore.store import EventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Conflict
from tests.archives import (
    COMMIT_SIZES,
    EVENT_COUNT,
    SIGNER,
    START,
    STREAMS,
    PlainLog,
    all_events,
    archive_of,
    fill,
    filled,
    leaves,
    lines,
    plain,
    sealed_by,
)

Origin = MemoryEventStore | PlainLog


@pytest.fixture(params=["with commits", "without commits"])
def origin(request: pytest.FixtureRequest) -> Origin:
    """One log, as a backend with commits keeps it, and as one without them does."""
    return filled() if request.param == "with commits" else plain(filled())


def position_of(origin: Origin, count: int) -> Position:
    """The position of the event with that number, from 1 on; 0 is the beginning."""
    return all_events(origin)[count - 1].position if count else BEGINNING


def test_a_log_comes_out_leaf_for_leaf(store: EventStore, origin: Origin) -> None:
    imported = import_archive(store, lines(archive_of(origin)))
    assert leaves(store) == leaves(origin)
    assert imported.before.position == BEGINNING
    assert imported.after == store.head()
    assert imported.end.events == EVENT_COUNT
    if isinstance(store, AuditableStore):
        assert verify(store).events == EVENT_COUNT
        assert verify(store).verified
        assert isinstance(origin, PlainLog) or store.head() == origin.head()


def test_what_was_imported_is_archived_with_the_same_root(store: EventStore, origin: Origin) -> None:
    archive = archive_of(origin)
    import_archive(store, lines(archive))
    again = archive_of(store)
    other = MemoryEventStore(SimulatedClock(START))
    import_archive(other, lines(again))
    assert leaves(other) == leaves(origin)
    if isinstance(store, AuditableStore) and not isinstance(origin, PlainLog):
        assert again == archive


def test_a_repeat_changes_nothing(store: EventStore, origin: Origin) -> None:
    archive = archive_of(origin)
    first = import_archive(store, lines(archive))
    second = import_archive(store, lines(archive))
    assert second.before == second.after == first.after
    assert leaves(store) == leaves(origin)


@pytest.mark.parametrize("count", [5, 13])
def test_an_import_that_was_interrupted_goes_on(store: EventStore, origin: Origin, count: int) -> None:
    import_archive(store, lines(archive_of(origin, Span(until=position_of(origin, count)))))
    import_archive(store, lines(archive_of(origin)))
    assert leaves(store) == leaves(origin)
    if isinstance(store, AuditableStore):
        assert verify(store).verified


def test_parts_of_a_log_are_imported_one_after_the_other(store: EventStore, origin: Origin) -> None:
    middle = position_of(origin, 6)
    import_archive(store, lines(archive_of(origin, Span(until=middle))))
    assert len(leaves(store)) == 6
    import_archive(store, lines(archive_of(origin, Span(middle))))
    import_archive(store, lines(archive_of(origin, Span(middle))))
    assert leaves(store) == leaves(origin)
    if isinstance(store, AuditableStore):
        assert verify(store).verified


def test_a_part_needs_what_lies_before_it(store: EventStore, origin: Origin) -> None:
    part = archive_of(origin, Span(position_of(origin, 6)))
    with pytest.raises(Conflict, match="what lies before first") as refused:
        import_archive(store, lines(part))
    assert refused.value.reason == "LOG_DIFFERS"
    assert leaves(store) == []


def test_a_part_of_another_log_is_refused(store: EventStore, origin: Origin) -> None:
    fill(store, COMMIT_SIZES[:3], first_id=500)
    before = leaves(store)
    with pytest.raises(Conflict) as refused:
        import_archive(store, lines(archive_of(origin, Span(position_of(origin, 6)))))
    assert refused.value.reason == "LOG_DIFFERS"
    assert leaves(store) == before


@pytest.mark.parametrize("sizes", [[1], [20]])
def test_a_log_that_holds_something_else_is_left_alone(store: EventStore, origin: Origin, sizes: list[int]) -> None:
    fill(store, sizes, first_id=500)
    before = leaves(store)
    with pytest.raises(Conflict) as refused:
        import_archive(store, lines(archive_of(origin)))
    assert refused.value.reason == "LOG_DIFFERS"
    assert leaves(store) == before


def test_a_log_that_holds_only_streams_of_its_own_is_no_empty_log(store: EventStore, origin: Origin) -> None:
    first = all_events(origin)[0]
    other = type(first.stream)("other", "0")
    store.append(other, [NewEvent(first.id, first.type, 1, b"")], ANY_VERSION)
    with pytest.raises(Conflict):
        import_archive(store, lines(archive_of(origin)))
    assert len(leaves(store)) == 1


def test_a_log_that_has_grown_since_takes_the_archive_as_known(store: EventStore, origin: Origin) -> None:
    archive = archive_of(origin)
    import_archive(store, lines(archive))
    fill(store, [3], first_id=500)
    imported = import_archive(store, lines(archive))
    assert imported.before == imported.after
    assert len(leaves(store)) == EVENT_COUNT + 3


def test_a_damaged_archive_gives_what_was_verified(store: EventStore, origin: Origin) -> None:
    content = lines(archive_of(origin))
    content[8] = content[8].replace(b'"payload":"', b'"payload":"AAAA')
    with pytest.raises(ArchiveDamaged) as damaged:
        import_archive(store, content)
    assert damaged.value.line == 9
    assert leaves(store) == leaves(origin)[: 5 if isinstance(origin, MemoryEventStore) else 0]
    import_archive(store, lines(archive_of(origin)))
    assert leaves(store) == leaves(origin)


def test_an_archive_that_was_cut_short_is_not_taken_for_the_whole(store: EventStore, origin: Origin) -> None:
    with pytest.raises(ArchiveDamaged, match="cut short"):
        import_archive(store, lines(archive_of(origin))[:-1])


def test_a_sealed_archive_is_taken_over_like_any_other(store: EventStore) -> None:
    origin = filled()
    import_archive(store, lines(archive_of(origin, seal_at=sealed_by(SIGNER, origin))))
    assert leaves(store) == leaves(origin)


def test_the_largest_payload_fits(store: EventStore) -> None:
    origin = filled([1])
    payload = bytes(range(256)) * (PAYLOAD_BYTES_MAX // 256)
    origin.append(STREAMS[1], [NewEvent(all_events(origin)[0].id, "t", 1, payload)], ANY_VERSION)
    import_archive(store, lines(archive_of(origin)))
    assert all_events(store)[1].payload == payload
