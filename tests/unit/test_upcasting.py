"""An event in an old form is read as what it means today; the table of steps has no holes and no circles."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from meterlog.events.v1.meter_pb2 import MeterArchived, MeterCreated
from services.eventstore import catalogue
from services.eventstore.catalogue import CATALOGUE, MESSAGES, UPCASTS, Catalogue, decode, decode_all
from services.eventstore.decider import Decider, load
from services.eventstore.event import NO_STREAM, NewEvent, Position, RecordedEvent, StreamName
from services.eventstore.memory import MemoryEventStore
from services.eventstore.upcasting import StoredForm, Upcast, problems
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Corrupt
from tests.projection_room import NOON

STREAM = StreamName("meter", "tokens")


def recorded(name: str, version: int, payload: bytes) -> RecordedEvent:
    return RecordedEvent(Position(9), STREAM, 4, UUID(int=1), name, version, NOON, payload, b"leaf")


def named(stored: StoredForm) -> Sequence[StoredForm]:
    """Version 1 was the bare slug."""
    return [StoredForm("MeterNamed", 2, MeterCreated(slug=stored.payload.decode()).SerializeToString())]


def split(stored: StoredForm) -> Sequence[StoredForm]:
    """Version 2 said two things at once."""
    created = MeterCreated.FromString(stored.payload)
    archived = MeterArchived(slug=created.slug)
    return [
        StoredForm("MeterCreated", 1, stored.payload),
        StoredForm("MeterArchived", 1, archived.SerializeToString()),
    ]


OLD = {
    ("MeterNamed", 1): Upcast((("MeterNamed", 2),), named),
    ("MeterNamed", 2): Upcast((("MeterCreated", 1), ("MeterArchived", 1)), split),
}
GROWN = Catalogue(MESSAGES, OLD)


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue of a release that has given up two forms."""
    for form, step in OLD.items():
        monkeypatch.setitem(UPCASTS, form, step)


def test_every_form_of_the_catalogue_leads_to_a_current_one() -> None:
    assert problems(MESSAGES, UPCASTS) == []


def test_a_chain_of_two_steps_is_followed_and_one_event_becomes_two_at_its_place_in_the_log() -> None:
    old = recorded("MeterNamed", 1, b"tokens")
    events = list(GROWN.current(old))
    assert [(event.type, event.schema_version) for event in events] == [("MeterCreated", 1), ("MeterArchived", 1)]
    assert {(event.position, event.version, event.leaf, event.id) for event in events} == {(9, 4, b"leaf", UUID(int=1))}
    assert list(GROWN.messages_of(old)) == [MeterCreated(slug="tokens"), MeterArchived(slug="tokens")]


def test_a_current_form_is_passed_on_untouched() -> None:
    event = recorded("MeterCreated", 1, MeterCreated(slug="tokens").SerializeToString())
    assert list(GROWN.current(event)) == [event]


def test_a_reader_of_one_message_refuses_an_event_that_means_two(grown: None) -> None:
    with pytest.raises(Corrupt, match="means 2 events"):
        decode(recorded("MeterNamed", 1, b"tokens"))
    assert len(decode_all(recorded("MeterNamed", 1, b"tokens"))) == 2


def test_bytes_of_an_old_form_that_do_not_parse_are_named() -> None:
    with pytest.raises(Corrupt, match=r"position 9 \(MeterNamed\) does not parse"):
        list(GROWN.messages_of(recorded("MeterNamed", 2, b"\xff")))


def test_a_decider_reads_an_old_stream_as_its_events_of_today(grown: None) -> None:
    store = MemoryEventStore(SimulatedClock(NOON))
    store.append(STREAM, [NewEvent(UUID(int=2), "MeterNamed", 1, b"tokens")], NO_STREAM)
    names: Decider[None, tuple[str, ...], MeterCreated] = Decider(
        (), lambda _command, _state: [], lambda state, event: (*state, type(event).__name__)
    )
    assert load(store, names, STREAM) == ("MeterCreated", "MeterArchived")


def test_what_is_written_is_the_current_form() -> None:
    event = catalogue.encode(MeterCreated(slug="tokens"), STREAM, 0, NOON)
    assert (event.type, event.schema_version) == CATALOGUE.form_of(MeterCreated())


def step(*to: tuple[str, int]) -> Upcast:
    return Upcast(to, lambda stored: [StoredForm(*form, stored.payload) for form in to])


@pytest.mark.parametrize(
    ("upcasts", "problem"),
    [
        ({("A", 1): step(("A", 2)), ("A", 2): step(("A", 1))}, "('A', 1) leads back to itself"),
        ({("A", 1): step(("A", 2))}, "('A', 1) leads to ('A', 2), which is neither current nor upcast"),
        ({("A", 1): step()}, "('A', 1) leads to nothing"),
        ({("A", 2): step(("B", 1))}, "('A', 1) is missing"),
        ({("B", 1): step(("B", 1))}, "('B', 1) is both current and old"),
    ],
)
def test_a_hole_or_a_circle_in_the_table_is_found(upcasts: dict[tuple[str, int], Upcast], problem: str) -> None:
    assert problem in problems({("B", 1)}, upcasts)


def test_two_current_versions_of_a_type_are_found() -> None:
    assert problems({("B", 1), ("B", 2)}, {}) == ["B has 2 current versions"]


def test_a_step_that_gives_what_it_does_not_name_is_a_programming_error() -> None:
    liar = Catalogue(MESSAGES, {("A", 1): Upcast((("MeterCreated", 1),), lambda _: [StoredForm("B", 1, b"")])})
    with pytest.raises(AssertionError, match="does not name"):
        list(liar.current(recorded("A", 1, b"")))


def test_a_step_that_loses_the_event_is_a_programming_error() -> None:
    loser = Catalogue(MESSAGES, {("A", 1): Upcast((("MeterCreated", 1),), lambda _: [])})
    with pytest.raises(AssertionError, match="loses the event"):
        list(loser.current(recorded("A", 1, b"")))
