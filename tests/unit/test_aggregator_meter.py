"""What a meter may say, and what can happen to it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from meterlog.events.v1.meter_pb2 import MeterArchived, MeterCreated, MeterUpdated
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.definition import Definition, require_definition
from services.aggregator.meters.meter import METER, ArchiveMeter, CreateMeter, Meter, MeterEvent, UpdateMeter
from services.eventstore.decider_testing import given
from services.kernel.errors import AlreadyExists, InvalidInput, NotFound
from services.kernel.timestamp import to_timestamp

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
LATER = datetime(2024, 1, 2, 12, tzinfo=UTC)
TOKENS = Definition("tokens", "Tokens", "llm.completion", AggregationName.SUM, "tokens", ("region", "model"), "token")

created = MeterCreated(
    slug="tokens",
    display_name="Tokens",
    event_type="llm.completion",
    aggregation="sum",
    value_property="tokens",
    group_by=["region", "model"],
    unit="token",
    created_at=to_timestamp(NOON),
)
archived = MeterArchived(slug="tokens", archived_at=to_timestamp(LATER))
HISTORY: tuple[MeterEvent, ...] = (created, archived)


def updated(display_name: str, unit: str) -> MeterUpdated:
    return MeterUpdated(slug="tokens", display_name=display_name, unit=unit, updated_at=to_timestamp(LATER))


def test_a_created_meter_is_what_was_asked_for() -> None:
    meter = given(METER).when(CreateMeter(TOKENS, NOON)).then(created)

    assert meter == Meter(TOKENS, NOON, None)


def test_a_meter_without_a_name_is_called_by_its_slug() -> None:
    nameless = MeterCreated.FromString(created.SerializeToString())
    nameless.display_name = "tokens"

    given(METER).when(CreateMeter(replace(TOKENS, display_name=""), NOON)).then(nameless)


def test_creating_the_same_meter_again_changes_nothing() -> None:
    given(METER, [created]).when(CreateMeter(TOKENS, LATER)).then_nothing()


@pytest.mark.parametrize(
    "other",
    [
        replace(TOKENS, event_type="llm.call"),
        replace(TOKENS, aggregation=AggregationName.MAX),
        replace(TOKENS, value_property=""),
        replace(TOKENS, group_by=("region",)),
        replace(TOKENS, group_by=("model", "region")),
        replace(TOKENS, unit="word"),
    ],
)
def test_a_slug_that_is_taken_by_another_meter_is_refused(other: Definition) -> None:
    given(METER, [created]).when(CreateMeter(other, LATER)).refuses(AlreadyExists, "METER_EXISTS")


def test_an_update_changes_what_is_set_and_keeps_the_rest() -> None:
    meter = given(METER, [created]).when(UpdateMeter("tokens", "All", None, LATER)).then(updated("All", "token"))

    assert meter == Meter(replace(TOKENS, display_name="All"), NOON, None)


def test_an_update_to_an_empty_name_calls_the_meter_by_its_slug() -> None:
    given(METER, [created]).when(UpdateMeter("tokens", "", "word", LATER)).then(updated("tokens", "word"))


def test_an_update_that_changes_nothing_is_no_event() -> None:
    given(METER, [created]).when(UpdateMeter("tokens", "Tokens", None, LATER)).then_nothing()


def test_an_archived_meter_stays_archived_since_the_first_time() -> None:
    meter = given(METER, [created]).when(ArchiveMeter("tokens", LATER)).then(archived)

    assert meter == Meter(TOKENS, NOON, LATER)
    given(METER, HISTORY).when(ArchiveMeter("tokens", NOON)).then_nothing()
    given(METER, HISTORY).when(CreateMeter(TOKENS, NOON)).then_nothing()


@pytest.mark.parametrize("command", [UpdateMeter("tokens", None, "word", NOON), ArchiveMeter("tokens", NOON)])
def test_a_meter_that_does_not_exist_cannot_be_changed(command: UpdateMeter | ArchiveMeter) -> None:
    given(METER).when(command).refuses(NotFound, "METER_NOT_FOUND")


@pytest.mark.parametrize(
    ("definition", "field", "reason"),
    [
        (replace(TOKENS, slug=""), "meter.slug", "BAD_IDENTIFIER"),
        (replace(TOKENS, slug="Tokens"), "meter.slug", "BAD_IDENTIFIER"),
        (replace(TOKENS, slug="t" * 65), "meter.slug", "BAD_IDENTIFIER"),
        (replace(TOKENS, event_type=""), "meter.event_type", "BAD_IDENTIFIER"),
        (replace(TOKENS, display_name="a\nb"), "meter.display_name", "BAD_IDENTIFIER"),
        (replace(TOKENS, display_name="n" * 257), "meter.display_name", "BAD_IDENTIFIER"),
        (replace(TOKENS, unit="u" * 65), "meter.unit", "BAD_UNIT"),
        (replace(TOKENS, unit="a\x00"), "meter.unit", "BAD_UNIT"),
        (replace(TOKENS, value_property="in put"), "meter.value_property", "BAD_IDENTIFIER"),
        (replace(TOKENS, aggregation=AggregationName.COUNT), "meter.value_property", "COUNT_WITH_VALUE"),
        (replace(TOKENS, group_by=("region", "9lives")), "meter.group_by[1]", "BAD_IDENTIFIER"),
        (replace(TOKENS, group_by=("",)), "meter.group_by[0]", "BAD_IDENTIFIER"),
        (replace(TOKENS, group_by=("subject",)), "meter.group_by[0]", "GROUP_KEY_RESERVED"),
        (replace(TOKENS, group_by=("a", "b", "a")), "meter.group_by[2]", "GROUP_KEY_REPEATED"),
        (replace(TOKENS, group_by=tuple(f"k{n}" for n in range(9))), "meter.group_by", "TOO_MANY_GROUP_KEYS"),
    ],
)
def test_a_malformed_meter_is_refused_by_its_field(definition: Definition, field: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        require_definition(definition)
    assert (refusal.value.field, refusal.value.reason) == (field, reason)


def test_a_malformed_update_is_refused() -> None:
    given(METER, [created]).when(UpdateMeter("tokens", "a\tb", None, LATER)).refuses(InvalidInput, "BAD_IDENTIFIER")
    given(METER, [created]).when(UpdateMeter("tokens", None, "u" * 65, LATER)).refuses(InvalidInput, "BAD_UNIT")
