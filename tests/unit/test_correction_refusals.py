"""Corrections that are refused, each by its field or reason, and change nothing."""

from collections.abc import Iterator
from typing import Any

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as usage_api
from meterlog.aggregator.v1 import correction_pb2 as api
from services.kernel.errors import InvalidInput, NotFound, TimedOut
from services.kernel.timestamp import to_timestamp
from tests.aggregator_room import DAY, WAIT_S, AggregatorRoom
from tests.corrected_room import (
    ALL_OF_ANN,
    amend,
    filled_room,
    name,
    revert,
)


@pytest.fixture(scope="module")
def lasting_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AggregatorRoom]:
    """One for all that is refused, and so changes nothing."""
    with filled_room(tmp_path_factory.mktemp("room")) as opened:
        yield opened


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"key": "", "names": [name(0)]}, "key"),
        ({"key": "a/b", "names": [name(0)]}, "key"),
        ({"names": []}, "names"),
        ({"names": [name(0)], "filter": ALL_OF_ANN}, "filter"),
        ({"names": [name(0), name(0)]}, "names[1]"),
        ({"names": [name(0)] * 1_001}, "names"),
        ({"names": [name(0, -1)]}, "names[0].position"),
        ({"names": [name(0)], "reason": " "}, "reason"),
        ({"names": [name(0)], "reason": "x" * 1_025}, "reason"),
        ({"names": [name(0)], "until_position": 1}, "until_position"),
        ({"names": [name(0)], "until_position": 10**9}, "until_position"),
        ({"filter": api.UsageFilter()}, "filter"),
        ({"filter": ALL_OF_ANN, "until_position": 3}, "expected_count"),
        ({"filter": ALL_OF_ANN, "expected_count": 3}, "until_position"),
        ({"filter": api.UsageFilter(start_at=to_timestamp(DAY), end_at=to_timestamp(DAY))}, "filter.end_at"),
        (
            {"filter": api.UsageFilter(recorded_from=to_timestamp(DAY), recorded_until=to_timestamp(DAY))},
            "filter.recorded_until",
        ),
        ({"filter": api.UsageFilter(subjects=["ann", "ann"])}, "filter.subjects"),
        ({"filter": api.UsageFilter(types=[str(number) for number in range(101)])}, "filter.types"),
        (
            {"filter": api.UsageFilter(conditions=[usage_api.UsageCondition(property="x")])},
            "filter.conditions[0].operator",
        ),
    ],
)
def test_a_malformed_cancellation_is_refused_by_its_field(
    lasting_room: AggregatorRoom, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        lasting_room.corrections.cancel(api.CancelUsageRequest(**{"key": "c", "reason": "wrong", **fields}), WAIT_S)
    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "value"),
        ({"value": "1e3"}, "value"),
        ({"value": ""}, "value"),
        ({"value": "1" * 27}, "value"),
        ({"properties": api.NewProperties(properties={"a b": "1"})}, "properties"),
        ({"properties": api.NewProperties(properties={"a": "x" * 1_025})}, "properties.a"),
        ({"properties": api.NewProperties(properties={"a": "\0"})}, "properties.a"),
        ({"properties": api.NewProperties(properties={f"a{n}": "" for n in range(65)})}, "properties"),
    ],
)
def test_usage_cannot_be_amended_to_what_could_not_be_recorded(
    lasting_room: AggregatorRoom, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        amend(lasting_room, "a", 0, **fields)
    assert refusal.value.field == field


def test_what_does_not_exist_cannot_be_reverted_or_read(lasting_room: AggregatorRoom) -> None:
    for ask in (
        lambda: revert(lasting_room, "no"),
        lambda: lasting_room.corrections.get(api.GetCorrectionRequest(key="no")),
    ):
        with pytest.raises(NotFound) as refusal:
            ask()
        assert refusal.value.reason == "CORRECTION_NOT_FOUND"


def test_a_call_without_time_left_decides_nothing(lasting_room: AggregatorRoom) -> None:
    head = lasting_room.store.head().position
    with pytest.raises(TimedOut):
        lasting_room.corrections.cancel(api.CancelUsageRequest(key="c", names=[name(0)], reason="wrong"), 0)
    assert lasting_room.store.head().position == head


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (api.UsageName(id="0-0-0"), "name.source"),
        (api.UsageName(source="test"), "name.id"),
        (api.UsageName(source="test", id="0-0-0", position=-1), "name.position"),
    ],
)
def test_the_name_of_an_amendment_is_refused_by_the_field_that_the_request_has(
    lasting_room: AggregatorRoom, wrong: api.UsageName, field: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        amend(lasting_room, "a", 0, name=wrong, value="1")
    assert refusal.value.field == field


def test_amending_what_was_never_recorded_says_so_of_its_one_name(lasting_room: AggregatorRoom) -> None:
    with pytest.raises(NotFound, match=r"^name: no usage event") as refusal:
        amend(lasting_room, "a", 99, value="1")
    assert refusal.value.reason == "USAGE_EVENT_NOT_FOUND"


def test_no_backfill_and_no_meter_is_decided_after_the_deadline(lasting_room: AggregatorRoom) -> None:
    room = lasting_room
    head = room.store.head().position
    meter = usage_api.Meter(slug="late", event_type="call", aggregation=usage_api.AGGREGATION_COUNT)
    for ask in (
        lambda: room.backfills.open(api.OpenBackfillRequest(key="late", reason="lost"), 0),
        lambda: room.backfills.revert(api.RevertBackfillRequest(key="late", reason="wrong"), 0),
        lambda: room.meters.create(usage_api.CreateMeterRequest(meter=meter), 0),
        lambda: room.meters.redefine(
            usage_api.RedefineMeterRequest(slug="greatest", meter=meter_as("greatest"), expected_version=1), 0
        ),
        lambda: room.meters.update(usage_api.UpdateMeterRequest(slug="greatest", unit="calls"), 0),
        lambda: room.meters.archive(usage_api.ArchiveMeterRequest(slug="greatest"), 0),
    ):
        with pytest.raises(TimedOut):
            ask()
    assert room.store.head().position == head


def meter_as(slug: str) -> usage_api.Meter:
    return usage_api.Meter(slug=slug, event_type="call", aggregation=usage_api.AGGREGATION_MIN)
