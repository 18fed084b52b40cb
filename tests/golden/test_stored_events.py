"""Stored events are for ever: the bytes of every type and version still mean what they meant when they were frozen."""

from datetime import UTC, datetime
from decimal import Decimal
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from uuid import UUID

import pytest
from google.protobuf.message import Message

from meterlog.events.v1.usage_pb2 import UsageRecorded
from services.eventstore.audit.chain import leaf_hashes
from services.eventstore.catalogue import CATALOGUE, MESSAGES, UPCASTS, Catalogue, decode
from services.eventstore.event import NewEvent, Position, RecordedEvent, StreamName
from services.eventstore.upcasting import StoredForm, Upcast
from services.eventstore.usage_batch import decode_usage
from services.kernel.clock import epoch_us


def neighbour(name: str) -> ModuleType:
    """A module of this folder that is no test."""
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


freeze_events = neighbour("freeze_events")
STREAM = StreamName("meter", "tokens")
NOON = datetime(2024, 1, 31, 12, 0, 0, 250_001, tzinfo=UTC)

every_type_and_version = pytest.mark.parametrize(("name", "version"), MESSAGES)


def frozen(name: str, version: int) -> bytes:
    content: bytes = freeze_events.bytes_path(name, version).read_bytes()
    return content


def decoded(name: str, version: int) -> Message:
    payload = frozen(name, version)
    return decode(RecordedEvent(Position(1), STREAM, 0, UUID(int=1), name, version, NOON, payload, b""))


@every_type_and_version
def test_frozen_bytes_still_mean_what_their_text_says(name: str, version: int) -> None:
    assert decoded(name, version) == freeze_events.written_message(name, version)


@every_type_and_version
def test_a_message_is_still_stored_as_the_same_bytes(name: str, version: int) -> None:
    assert decoded(name, version).SerializeToString(deterministic=True) == frozen(name, version)


@every_type_and_version
def test_a_frozen_event_shows_every_field_that_it_had(name: str, version: int) -> None:
    """A field that is added later stays unset here; then name it in ADDED_LATER."""
    assert unset_fields(decoded(name, version)) == ADDED_LATER.get((name, version), set())


ADDED_LATER: dict[tuple[str, int], set[str]] = {
    ("MeterCreated", 1): {"filters", "value_expression", "percentile"},
    ("UsagePeriodClosed", 1): {"time_zone"},
}


def unset_fields(message: Message) -> set[str]:
    """The fields of a message that are at their default."""
    present = {field.name for field, _ in message.ListFields()}
    return {field.name for field in message.DESCRIPTOR.fields} - present


def test_a_frozen_usage_batch_still_holds_the_same_rows() -> None:
    message = decoded("UsageRecorded", 1)
    assert isinstance(message, UsageRecorded)
    first = {"source": "trace.csv", "type": "llm.completion", "subject": "tenant-0", "id": "row-0", "time": NOON}
    assert decode_usage(message).to_pylist() == [
        first | {"value": Decimal(1), "p.input_tokens": "374", "p.model": "größer"},
        first
        | {"subject": "tenant-1", "id": "row-1", "time": datetime(2024, 1, 31, 12, tzinfo=UTC)}
        | {"value": Decimal("0.000000000001"), "p.input_tokens": "12", "p.model": None},
        first
        | {"id": "row-8", "time": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)}
        | {"value": Decimal("-99999999999999999999999999.5"), "p.input_tokens": None, "p.model": None},
    ]


def test_the_leaf_of_an_event_is_for_ever() -> None:
    event = NewEvent(UUID("018d6b3c-1111-8222-b333-444455556666"), "MeterCreated", 1, frozen("MeterCreated", 1))
    (leaf,) = leaf_hashes(STREAM, 3, [event], epoch_us(NOON))
    assert leaf.hex() == "6b39a7a8210ef68e6ed8649f7ab651f4ac0397fa785589693510c1aeb96ce94c"


def test_frozen_bytes_of_a_form_that_was_given_up_still_mean_what_their_text_says() -> None:
    """Every form that was ever released is in somebody's log: each has its bytes and its meaning of today."""
    for name, version in UPCASTS:
        meant = freeze_events.meaning_of_old(freeze_events.text_path(name, version).read_text(), MESSAGES)
        assert read(CATALOGUE, name, version, frozen(name, version)) == meant, f"{name} version {version}"


def read(catalogue: Catalogue, name: str, version: int, payload: bytes) -> list[Message]:
    event = RecordedEvent(Position(1), STREAM, 0, UUID(int=1), name, version, NOON, payload, b"")
    return list(catalogue.messages_of(event))


def test_the_comparison_of_an_old_form_sees_what_an_upcaster_changes() -> None:
    """With a form that a test gave up: the slug alone, which meant a meter created and archived at once."""

    def split(stored: StoredForm) -> list[StoredForm]:
        payload = b"\x0a" + bytes([len(stored.payload)]) + stored.payload
        return [StoredForm("MeterCreated", 1, payload), StoredForm("MeterArchived", 1, payload)]

    step = Upcast((("MeterCreated", 1), ("MeterArchived", 1)), split)
    grown = Catalogue(MESSAGES, {("MeterNamed", 1): step})
    text = '# MeterCreated 1\nslug: "tokens"\n# MeterArchived 1\nslug: "tokens"\n'
    assert read(grown, "MeterNamed", 1, b"tokens") == freeze_events.meaning_of_old(text, MESSAGES)
    assert read(grown, "MeterNamed", 1, b"calls") != freeze_events.meaning_of_old(text, MESSAGES)


def test_nothing_is_frozen_that_the_catalogue_does_not_know() -> None:
    known = {freeze_events.bytes_path(*key).name for key in (*MESSAGES, *UPCASTS)}
    assert {path.name for path in freeze_events.EVENTS.glob("*.bin")} == known
