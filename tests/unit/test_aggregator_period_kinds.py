"""Which kinds of periods close: by a setting, in any time zone, each period once for whoever has usage in it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import cast

import pytest

from meterlog.events.v1.meter_pb2 import UsagePeriodClosed
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.definition import Definition
from services.aggregator.periods.open_periods import REACHES, OpenPeriods
from services.aggregator.periods.period import period_stream
from services.aggregator.periods.period_kind import PeriodKind, parse_period_kinds
from services.eventstore.catalogue import decode
from services.eventstore.event import BEGINNING
from services.kernel.calendar import Span, Window
from services.kernel.clock import epoch_us
from services.kernel.errors import InvalidInput
from services.kernel.timestamp import from_timestamp
from tests.aggregator_room import GRACE, AggregatorRoom, open_room
from tests.plain_usage import Event

START = datetime(2024, 3, 30, tzinfo=UTC)
REQUESTS = Definition("requests", "", "call", AggregationName.COUNT, "", (), "")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    with open_room(tmp_path, now=START) as opened:
        opened.log.create([REQUESTS])
        yield opened


def call(at: datetime, subject: str = "ann") -> Event:
    return Event("call", subject, at, Decimal(1), {})


def closings(room: AggregatorRoom) -> list[tuple[str, datetime, datetime, dict[str, str]]]:
    """Key, start, end and totals of what was closed, in the order of the log."""
    recorded = room.store.read_all(after=BEGINNING, categories={"period"}).events
    events = [cast(UsagePeriodClosed, decode(event)) for event in recorded]
    return [
        (
            event.period + ("@" + event.time_zone if event.time_zone else ""),
            from_timestamp(event.start_at),
            from_timestamp(event.end_at),
            {total.meter: total.quantity for total in event.totals},
        )
        for event in events
    ]


def test_a_setting_lists_kinds_and_zones() -> None:
    kinds = parse_period_kinds("month, day@Europe/Berlin,hour,month", "METERLOG_CLOSE_PERIODS")

    assert [kind.key for kind in kinds] == ["month", "day@Europe/Berlin", "hour"]
    assert parse_period_kinds("none", "x") == parse_period_kinds(" ", "x") == ()
    assert parse_period_kinds("day@UTC", "x") == (PeriodKind(Window.DAY),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fortnight", "UNKNOWN_PERIOD"),
        ("month,", "UNKNOWN_PERIOD"),
        ("none,month", "UNKNOWN_PERIOD"),
        ("minute", "UNKNOWN_PERIOD"),
        ("day@", "NO_ZONE"),
        ("day@Mars/Phobos", "UNKNOWN_TIME_ZONE"),
        (
            ",".join(f"{length}@Etc/GMT{shift:+d}" for length in ("hour", "day") for shift in range(-5, 6)),
            "TOO_MANY_KINDS",
        ),
    ],
)
def test_a_setting_that_is_wrong_is_refused_by_its_name(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_period_kinds(text, "METERLOG_CLOSE_PERIODS")

    assert (refusal.value.field, refusal.value.reason) == ("METERLOG_CLOSE_PERIODS", reason)


def test_a_month_in_utc_keeps_the_stream_that_it_always_had() -> None:
    january = Span(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC))

    assert str(period_stream("ann", PeriodKind(Window.MONTH), january)) == "period-ann/month/2024-01-01T00:00:00+00:00"
    berlin = PeriodKind(Window.MONTH, "Europe/Berlin")
    assert "ann/month@Europe/Berlin/2023-12-31T23:00:00+00:00" in str(
        period_stream("ann", berlin, berlin.period_of(january.start))
    )


def test_days_of_23_and_25_hours_close_at_their_midnights(room: AggregatorRoom) -> None:
    """killbill #743: a billing day moves with the clock."""
    first = datetime(2024, 3, 30, 22, 30, tzinfo=UTC)  # 23:30 in Berlin, the day before the short one
    room.record([call(first + timedelta(hours=hour)) for hour in range(26)])
    room.clock.advance(datetime(2024, 4, 2, tzinfo=UTC))
    room.another_closer("day@Europe/Berlin").close_due()

    midnights = [datetime(2024, 3, day, 23 if day < 31 else 22, tzinfo=UTC) for day in (29, 30, 31)]
    assert closings(room) == [
        ("day@Europe/Berlin", midnights[0], midnights[1], {"requests": "1"}),
        ("day@Europe/Berlin", midnights[1], midnights[2], {"requests": "23"}),
        ("day@Europe/Berlin", midnights[2], datetime(2024, 4, 1, 22, tzinfo=UTC), {"requests": "2"}),
    ]


def test_several_kinds_close_side_by_side_the_one_that_ended_first_first(room: AggregatorRoom) -> None:
    room.record([call(datetime(2024, 3, 31, 23, 30, tzinfo=UTC))])
    room.clock.advance(datetime(2025, 1, 1, tzinfo=UTC) + GRACE)
    room.another_closer("year,month,day@Pacific/Auckland,week,quarter").close_due()

    assert [(key, start, end) for key, start, end, _ in closings(room)] == [
        ("quarter", datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)),
        ("month", datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)),
        ("week", datetime(2024, 3, 25, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)),
        ("day@Pacific/Auckland", datetime(2024, 3, 31, 11, tzinfo=UTC), datetime(2024, 4, 1, 11, tzinfo=UTC)),
        ("year", datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)),
    ]


def test_usage_on_the_other_side_of_an_edge_inside_an_hour_closes_nothing(room: AggregatorRoom) -> None:
    """In Kathmandu days begin at a quarter past the hour of UTC."""
    room.record(
        [call(datetime(2024, 3, 30, 18, 14, 59, tzinfo=UTC)), call(datetime(2024, 3, 30, 18, 15, tzinfo=UTC), "bob")]
    )
    room.clock.advance(datetime(2024, 4, 2, tzinfo=UTC))
    room.another_closer("day@Asia/Kathmandu").close_due()

    recorded = room.store.read_all(after=BEGINNING, categories={"period"}).events
    found = [cast(UsagePeriodClosed, decode(event)) for event in recorded]
    assert [(event.subject, from_timestamp(event.end_at)) for event in found] == [
        ("ann", datetime(2024, 3, 30, 18, 15, tzinfo=UTC)),
        ("bob", datetime(2024, 3, 31, 18, 15, tzinfo=UTC)),
    ]


def test_customers_in_two_zones_close_each_day_once(room: AggregatorRoom) -> None:
    """lago #879: a guard that ignored the zone let a bill go out twice."""
    room.record([call(START + timedelta(hours=hour)) for hour in range(0, 48, 6)])
    room.clock.advance(datetime(2024, 4, 3, tzinfo=UTC))
    for _ in range(2):
        room.another_closer("day@Pacific/Kiritimati,day@Etc/GMT+12").close_due()
        room.catch_up()

    found = [(key, start) for key, start, _, _ in closings(room)]
    assert len(found) == len(set(found)) == 6
    assert sum(int(totals["requests"]) for *_, totals in closings(room)) == 16


def test_an_hour_closes_with_what_was_used_in_it(room: AggregatorRoom) -> None:
    room.record([call(START), call(START + timedelta(minutes=59, seconds=59)), call(START + timedelta(hours=1))])
    room.clock.advance(START + timedelta(hours=1) + GRACE)
    assert room.another_closer("hour").close_due() == 1
    room.clock.advance(START + timedelta(hours=2) + GRACE)
    assert room.another_closer("hour").close_due() == 1

    assert [totals["requests"] for *_, totals in closings(room)] == ["2", "1"]


def test_hours_of_long_ago_are_left_to_be_closed_by_hand_and_months_are_not(room: AggregatorRoom) -> None:
    now = datetime(2024, 6, 1, tzinfo=UTC)
    room.record([call(now - REACHES[Window.HOUR] - timedelta(hours=2)), call(now - timedelta(hours=5))])
    room.record([call(datetime(1999, 1, 1, tzinfo=UTC))])
    room.clock.advance(now)
    room.another_closer("hour,month").close_due()

    hours = [start for key, start, _, _ in closings(room) if key == "hour"]
    assert hours == [now - timedelta(hours=5)]
    months = [start for key, start, _, _ in closings(room) if key == "month"]
    assert months[0] == datetime(1999, 1, 1, tzinfo=UTC)


def test_open_periods_are_remembered_until_they_are_closed() -> None:
    hour = epoch_us(START)
    periods = OpenPeriods([PeriodKind(Window.HOUR), PeriodKind(Window.DAY)], timedelta(minutes=5))
    periods.note([hour, hour + 3_600_000_000], START)

    assert periods.due(START + timedelta(hours=1)) == []
    due = periods.due(START + timedelta(hours=2, minutes=5))
    assert [(period.kind.key, period.span.start) for period in due] == [
        ("hour", START),
        ("hour", START + timedelta(hours=1)),
    ]
    periods.closed(due[0])
    assert len(periods.due(START + timedelta(days=2))) == 2
    (day,) = [period for period in periods.due(START + timedelta(days=2)) if period.kind.length is Window.DAY]
    assert day.news == Span(START, START + timedelta(hours=2))


def test_the_ends_of_the_calendar_are_no_period() -> None:
    kind = PeriodKind(Window.YEAR, "Pacific/Kiritimati")
    assert list(kind.periods_of_hour(epoch_us(datetime(9999, 12, 31, 23, tzinfo=UTC)))) == []
    with pytest.raises(InvalidInput) as refusal:
        kind.period_of(datetime(9999, 12, 31, 23, tzinfo=UTC))
    assert refusal.value.reason == "PERIOD_BEYOND_CALENDAR"
