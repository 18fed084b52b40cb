"""Periods over the API: the running total, closing by hand, and the list of what was closed."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as api
from meterlog.events.v1.meter_pb2 import PeriodTotal, UsagePeriodClosed
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.definition import Definition
from services.eventstore.catalogue import encode
from services.eventstore.event import NO_STREAM, StreamName
from services.kernel.errors import InvalidInput, NotFound, RuleViolated, TimedOut
from services.kernel.timestamp import from_timestamp, to_timestamp
from services.projection.runner import ProjectionRunner
from tests.aggregator_room import GRACE, WAIT_S, AggregatorRoom, open_room
from tests.plain_usage import Event

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2024, 2, 1, tzinfo=UTC)
MARCH = datetime(2024, 3, 1, tzinfo=UTC)

REQUESTS = Definition("requests", "", "call", AggregationName.COUNT, "", (), "")
SIZES = Definition("sizes", "", "call", AggregationName.SUM, "size", (), "")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    with open_room(tmp_path, now=JANUARY) as opened:
        opened.log.create([REQUESTS, SIZES])
        yield opened


def call(at: datetime, subject: str = "ann", **properties: str) -> Event:
    return Event("call", subject, at, Decimal(1), properties)


def usage(room: AggregatorRoom, **fields: Any) -> api.GetPeriodUsageResponse:
    return room.closed.usage(api.GetPeriodUsageRequest(**{"subject": "ann", **fields}), WAIT_S)


def close(room: AggregatorRoom, **fields: Any) -> tuple[int, int]:
    wanted = {"period": "month", "at": to_timestamp(JANUARY), **fields}
    response = room.closed.close(api.ClosePeriodRequest(**wanted), WAIT_S)
    return response.closed_count, response.already_closed_count


def listed(room: AggregatorRoom, **fields: Any) -> list[tuple[str, str, str]]:
    periods = room.closed.list(api.ListClosedPeriodsRequest(**fields)).periods
    return [(period.subject, period.period, period.time_zone) for period in periods]


# --- the running total -----------------------------------------------------------------------------------------------


def test_the_running_total_is_that_of_the_month_that_is_now(room: AggregatorRoom) -> None:
    room.clock.advance(datetime(2024, 1, 20, tzinfo=UTC))
    position = room.record([call(JANUARY, size="1.5"), call(JANUARY + timedelta(days=3)), call(FEBRUARY)])

    answer = usage(room)
    assert (from_timestamp(answer.start_at), from_timestamp(answer.end_at)) == (JANUARY, FEBRUARY)
    assert dict(answer.totals) == {"requests": "2", "sizes": "1.5"}
    assert (answer.position, answer.HasField("closed")) == (position, False)


def test_a_period_of_another_zone_and_instant(room: AggregatorRoom) -> None:
    room.record([call(datetime(2024, 1, 5, 22, 59, tzinfo=UTC)), call(datetime(2024, 1, 5, 23, tzinfo=UTC))])

    day = usage(room, period="day", time_zone="Europe/Berlin", at=to_timestamp(datetime(2024, 1, 6, tzinfo=UTC)))
    assert from_timestamp(day.start_at) == datetime(2024, 1, 5, 23, tzinfo=UTC)
    assert dict(day.totals) == {"requests": "1"}


def test_what_was_closed_stands_beside_what_is_counted_now(room: AggregatorRoom) -> None:
    room.record([call(JANUARY)])
    room.clock.advance(MARCH)
    room.closer.close_due()
    room.record([call(JANUARY)])

    answer = usage(room, at=to_timestamp(JANUARY))
    assert (answer.totals["requests"], answer.closed.totals["requests"]) == ("2", "1")

    room.restater.restate_changed()
    room.catch_up()
    answer = usage(room, at=to_timestamp(JANUARY))
    assert (answer.closed.totals["requests"], len(answer.closed.restatements)) == ("2", 1)


def test_a_caller_reads_what_it_wrote(room: AggregatorRoom) -> None:
    position = room.log.record([call(JANUARY)])

    assert usage(room, min_position=position).totals["requests"] == "1"
    with pytest.raises(InvalidInput):
        usage(room, min_position=position + 1_000)
    with pytest.raises(InvalidInput):
        usage(room, min_position=-1)


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"subject": ""}, "subject", ""),
        ({"period": "fortnight"}, "period", "UNKNOWN_PERIOD"),
        ({"period": "minute"}, "period", "UNKNOWN_PERIOD"),
        ({"time_zone": "Mars/Phobos"}, "time_zone", "UNKNOWN_TIME_ZONE"),
        (
            {"at": to_timestamp(datetime(9999, 12, 31, 23, tzinfo=UTC)), "period": "year"},
            "at",
            "PERIOD_BEYOND_CALENDAR",
        ),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_by_its_field(
    room: AggregatorRoom, fields: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        usage(room, **fields)

    assert refusal.value.field == field
    assert not reason or refusal.value.reason == reason


# --- closing by hand -------------------------------------------------------------------------------------------------


def test_a_period_that_is_over_closes_when_told_without_its_grace(room: AggregatorRoom) -> None:
    room.record([call(JANUARY), call(JANUARY, "bob"), call(FEBRUARY, "cat")])
    room.clock.advance(FEBRUARY)
    assert room.closer.close_due() == 0

    assert close(room) == (2, 0)
    assert close(room) == (0, 2)
    assert listed(room) == [("ann", "month", "UTC"), ("bob", "month", "UTC")]
    room.clock.advance(FEBRUARY + GRACE)
    assert room.closer.close_due() == 0


def test_a_period_does_not_close_for_a_customer_who_never_used_anything(room: AggregatorRoom) -> None:
    room.record([call(JANUARY)])
    room.clock.advance(FEBRUARY)

    with pytest.raises(NotFound, match="nobody") as refusal:
        close(room, subject="nobody")
    assert refusal.value.reason == "NO_USAGE"
    assert listed(room) == []


def test_a_period_that_is_not_over_does_not_close(room: AggregatorRoom) -> None:
    room.record([call(JANUARY)])
    room.clock.advance(FEBRUARY - timedelta(microseconds=1))

    with pytest.raises(RuleViolated) as refusal:
        close(room)
    assert refusal.value.reason == "PERIOD_NOT_OVER"
    assert str(refusal.value) == (
        "the month from 2024-01-01T00:00:00Z ends at 2024-02-01T00:00:00Z, and it is 2024-01-31T23:59:59Z; "
        "close it when it is over"
    )
    assert listed(room) == []


def test_one_customer_closes_alone_and_without_usage_too(room: AggregatorRoom) -> None:
    room.record([call(JANUARY), call(JANUARY, "bob"), call(JANUARY - timedelta(days=9), "earlier")])
    room.clock.advance(FEBRUARY)

    assert close(room, subject="bob") == (1, 0)
    assert close(room, subject="earlier") == (1, 0)
    assert close(room) == (1, 1)
    assert [subject for subject, *_ in listed(room)] == ["ann", "bob", "earlier"]


def test_a_closed_period_of_any_kind_is_restated(room: AggregatorRoom) -> None:
    room.record([call(JANUARY)])
    room.clock.advance(FEBRUARY)
    assert close(room, period="hour", time_zone="Asia/Kathmandu") == (1, 0)
    room.record([call(JANUARY + timedelta(minutes=16))])
    assert room.restater.restate_changed() == 0
    room.record([call(JANUARY + timedelta(minutes=14))])
    assert room.restater.restate_changed() == 1
    room.catch_up()

    (period,) = room.closed.list(api.ListClosedPeriodsRequest()).periods
    assert (period.period, period.time_zone, dict(period.totals)) == ("hour", "Asia/Kathmandu", {"requests": "2"})
    assert from_timestamp(period.start_at) == JANUARY - timedelta(minutes=45)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"period": ""}, "period"),
        ({"period": "decade"}, "period"),
        ({"at": None}, "at"),
        ({"time_zone": "CET/Nowhere"}, "time_zone"),
        ({"subject": "x" * 300}, "subject"),
    ],
)
def test_a_closing_that_makes_no_sense_is_refused_by_its_field(
    room: AggregatorRoom, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        close(room, **fields)
    assert refusal.value.field == field


def test_nothing_closes_while_usage_is_parked(room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    room.record([call(JANUARY)])
    room.clock.advance(FEBRUARY + GRACE)

    def parked(_runner: object) -> None:
        raise RuleViolated("events are parked", reason="EVENTS_PARKED")

    monkeypatch.setattr(ProjectionRunner, "require_whole", parked)
    monkeypatch.setattr(ProjectionRunner, "is_whole", lambda _runner: False)

    assert (room.closer.close_due(), room.restater.restate_changed()) == (0, 0)
    assert room.closer.problem() == "no period closes while usage is parked"
    with pytest.raises(RuleViolated):
        close(room)
    assert listed(room) == []


def test_a_closing_that_takes_too_long_is_safe_to_repeat(room: AggregatorRoom) -> None:
    room.record([call(JANUARY)])
    room.clock.advance(FEBRUARY)

    with pytest.raises(TimedOut):
        room.closed.close(api.ClosePeriodRequest(period="month", at=to_timestamp(JANUARY)), 0.0)
    assert close(room) in {(1, 0), (0, 1)}


# --- the list --------------------------------------------------------------------------------------------------------


def test_closed_periods_are_listed_by_kind_and_page_by_page(room: AggregatorRoom) -> None:
    room.record([call(JANUARY), call(JANUARY, "bob")])
    room.clock.advance(FEBRUARY)
    for kind, zone in (("month", ""), ("day", ""), ("day", "Europe/Berlin")):
        close(room, period=kind, time_zone=zone)

    assert listed(room, period="day") == [
        ("ann", "day", "UTC"),
        ("bob", "day", "UTC"),
        ("ann", "day", "Europe/Berlin"),
        ("bob", "day", "Europe/Berlin"),
    ]
    found, token = [], ""
    for _ in range(10):
        page = room.closed.list(api.ListClosedPeriodsRequest(page_size=1, page_token=token))
        found += [(period.subject, period.period, period.time_zone) for period in page.periods]
        token = page.next_page_token
        if not token:
            break
    assert len(found) == len(set(found)) == 6
    assert found == listed(room)


def test_a_list_refuses_a_kind_and_a_token_that_are_none(room: AggregatorRoom) -> None:
    with pytest.raises(InvalidInput) as refusal:
        listed(room, period="decade")
    assert refusal.value.field == "period"
    with pytest.raises(InvalidInput) as refusal:
        listed(room, page_token="WzFd")
    assert refusal.value.field == "page_token"


def test_a_closing_of_an_earlier_release_stands_and_can_be_restated(room: AggregatorRoom) -> None:
    """It names no time zone, and its stream is the one that months in UTC still have."""
    room.record([call(JANUARY), call(JANUARY)])
    closing = UsagePeriodClosed(
        subject="ann",
        period="month",
        start_at=to_timestamp(JANUARY),
        end_at=to_timestamp(FEBRUARY),
        position=room.store.head().position,
        totals=[PeriodTotal(meter="requests", quantity="2")],
        closed_at=to_timestamp(FEBRUARY),
    )
    stream = StreamName.parse("period-ann/month/2024-01-01T00:00:00+00:00")
    room.store.append(stream, [encode(closing, stream, 0, FEBRUARY)], NO_STREAM)
    room.catch_up()
    room.clock.advance(MARCH)

    assert room.closer.close_due() == 0
    assert listed(room) == [("ann", "month", "UTC")]
    room.record([call(JANUARY)])
    assert room.restater.restate_changed() == 1
    assert [event.type for event in room.store.read_stream(stream)] == ["UsagePeriodClosed", "UsagePeriodRestated"]
