"""Recorded usage events, found and listed as they were sent."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.kernel.errors import InvalidInput, NotFound, TimedOut
from services.kernel.timestamp import to_timestamp
from tests.aggregator_room import NOW, WAIT_S, AggregatorRoom, open_room
from tests.plain_usage import Event

START = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def event(number: int, subject: str = "ann", kind: str = "call", **properties: str) -> Event:
    return Event(kind, subject, START + timedelta(seconds=number), Decimal(number), properties)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    """Three batches in two partitions."""
    with open_room(tmp_path) as opened:
        opened.record([event(0, region="eu", size=""), event(1, subject="bob")])
        opened.record([event(2, kind="other"), event(3, region="us")])
        opened.log.record([event(4, subject="cat")], partition="1")
        opened.catch_up()
        yield opened


def listed(room: AggregatorRoom, **fields: object) -> list[int]:
    """The values of all usage events of a list, page by page."""
    found: list[int] = []
    token = ""
    for _ in range(20):
        request = api.ListUsageEventsRequest(page_token=token, **fields)  # type: ignore[arg-type]  # fields as asked
        page = room.usage_events.list(request, WAIT_S)
        found += [int(usage.value) for usage in page.events]
        token = page.next_page_token
        if not token:
            return found
    raise AssertionError("the list has no end")


def test_a_usage_event_is_returned_as_it_was_sent(room: AggregatorRoom) -> None:
    found = room.usage_events.get(api.GetUsageEventRequest(source="test", id="0-1-1"), WAIT_S).event

    assert found == api.RecordedUsageEvent(
        id="0-1-1",
        source="test",
        type="call",
        subject="ann",
        time=to_timestamp(START + timedelta(seconds=3)),
        value="3",
        properties={"region": "us"},
        position=2,
        row=1,
        recorded_at=to_timestamp(NOW),
        state=api.USAGE_STATE_COUNTED,
    )


@pytest.mark.parametrize(("source", "usage_id"), [("test", "9-9-9"), ("elsewhere", "0-0-0")])
def test_a_usage_event_that_was_never_recorded_is_not_found(room: AggregatorRoom, source: str, usage_id: str) -> None:
    with pytest.raises(NotFound) as refusal:
        room.usage_events.get(api.GetUsageEventRequest(source=source, id=usage_id), WAIT_S)
    assert refusal.value.reason == "USAGE_EVENT_NOT_FOUND"


@pytest.mark.parametrize(("source", "usage_id", "field"), [("", "1", "source"), ("test", "", "id"), ("t", "a\n", "id")])
def test_a_malformed_name_is_refused(room: AggregatorRoom, source: str, usage_id: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        room.usage_events.get(api.GetUsageEventRequest(source=source, id=usage_id), WAIT_S)
    assert refusal.value.field == field


def test_an_empty_property_is_not_a_missing_one(room: AggregatorRoom) -> None:
    page = room.usage_events.list(api.ListUsageEventsRequest(page_size=1), WAIT_S)

    assert dict(page.events[0].properties) == {"region": "eu", "size": ""}


@pytest.mark.parametrize("page_size", [1, 2, 3, 5, 100])
def test_pages_of_any_size_list_everything_once_in_the_order_of_the_log(room: AggregatorRoom, page_size: int) -> None:
    assert listed(room, page_size=page_size) == [0, 1, 2, 3, 4]


def test_a_list_shows_what_is_chosen(room: AggregatorRoom) -> None:
    assert listed(room, subject="ann", page_size=1) == [0, 2, 3]
    assert listed(room, type="other") == [2]
    assert listed(room, subject="nobody") == []
    assert listed(room, start_at=to_timestamp(START + timedelta(seconds=1)), page_size=1) == [1, 2, 3, 4]
    assert listed(room, end_at=to_timestamp(START + timedelta(seconds=3))) == [0, 1, 2]


def test_a_page_looks_into_a_bounded_number_of_batches(room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.aggregator.usage.usage_events.SCANNED_BATCHES_MAX", 1)

    first = room.usage_events.list(api.ListUsageEventsRequest(subject="cat"), WAIT_S)

    assert (list(first.events), first.next_page_token == "") == ([], False)
    assert listed(room, subject="cat") == [4]
    assert listed(room) == [0, 1, 2, 3, 4]


def test_looking_is_given_up_when_the_call_is_over(room: AggregatorRoom) -> None:
    with pytest.raises(TimedOut):
        room.usage_events.get(api.GetUsageEventRequest(source="test", id="9-9"), 0.0)
    with pytest.raises(TimedOut):
        room.usage_events.list(api.ListUsageEventsRequest(), 0.0)


def test_an_instant_outside_the_calendar_is_refused(room: AggregatorRoom) -> None:
    request = api.ListUsageEventsRequest()
    request.end_at.seconds = 2**60
    with pytest.raises(InvalidInput) as refusal:
        room.usage_events.list(request, WAIT_S)
    assert refusal.value.field == "end_at"


@pytest.mark.parametrize(("first", "end"), [("start_at", "end_at"), ("recorded_from", "recorded_until")])
@pytest.mark.parametrize("length", [timedelta(0), timedelta(days=-1)])
def test_a_reversed_range_is_refused_and_not_answered_as_empty(
    room: AggregatorRoom, first: str, end: str, length: timedelta
) -> None:
    instants: dict[str, Any] = {first: to_timestamp(NOW), end: to_timestamp(NOW + length)}
    with pytest.raises(InvalidInput) as refusal:
        room.usage_events.list(api.ListUsageEventsRequest(**instants), WAIT_S)
    assert (refusal.value.field, refusal.value.reason) == (end, "RANGE_REVERSED")


def test_a_page_looks_at_a_bounded_number_of_usage_events(
    room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.aggregator.usage.usage_events.SCANNED_USAGE_EVENTS_MAX", 3)

    first = room.usage_events.list(api.ListUsageEventsRequest(subject="cat"), WAIT_S)

    assert (list(first.events), first.next_page_token == "") == ([], False)
    assert listed(room, subject="cat") == [4]
    assert listed(room) == [0, 1, 2, 3, 4]


def test_a_list_that_takes_most_of_its_time_goes_on_in_the_next_page(
    room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.aggregator.usage.usage_events.SCANNING_SHARE", 0.0)

    first = room.usage_events.list(api.ListUsageEventsRequest(), WAIT_S)

    assert ([int(usage.value) for usage in first.events], first.next_page_token == "") == ([0, 1], False)
    assert listed(room) == [0, 1, 2, 3, 4]


def test_usage_of_another_state_is_passed_over_in_columns(
    room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a usage event that is not asked for became a value")

    monkeypatch.setattr("services.aggregator.corrections.standing._usage", never)
    monkeypatch.setattr("services.aggregator.corrections.standing._acting", never)

    assert listed(room, state=api.USAGE_STATE_CANCELLED) == []
    with pytest.raises(AssertionError):
        listed(room, state=api.USAGE_STATE_COUNTED)


@pytest.mark.parametrize("page_size", [1, 2, 100])
def test_usage_events_become_values_a_few_at_a_time_and_none_is_lost(
    room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch, page_size: int
) -> None:
    monkeypatch.setattr("services.aggregator.corrections.standing.VALUES_AT_ONCE", 2)
    room.log.record([event(number) for number in range(5, 10)])
    room.catch_up()

    assert listed(room, page_size=page_size) == list(range(10))
    assert listed(room, page_size=page_size, state=api.USAGE_STATE_COUNTED) == list(range(10))
