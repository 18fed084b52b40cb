"""Months close once, after their grace period, with everything that was in the log by then."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import cast

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as api
from meterlog.events.v1.meter_pb2 import UsagePeriodClosed
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.deadline import Deadline
from services.aggregator.meters.definition import Definition
from services.eventstore.catalogue import decode
from services.kernel.timestamp import to_timestamp
from tests.aggregator_room import GRACE, WAIT_S, AggregatorRoom, open_room
from tests.plain_usage import Event

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2024, 2, 1, tzinfo=UTC)
MARCH = datetime(2024, 3, 1, tzinfo=UTC)
DUE = FEBRUARY + GRACE

REQUESTS = Definition("requests", "", "call", AggregationName.COUNT, "", (), "")
SIZES = Definition("sizes", "", "call", AggregationName.AVG, "size", ("region",), "")
LARGEST = Definition("largest", "", "other", AggregationName.MAX, "", (), "")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    with open_room(tmp_path, now=JANUARY) as opened:
        opened.log.create([REQUESTS, SIZES, LARGEST])
        yield opened


def call(at: datetime, subject: str = "ann", **properties: str) -> Event:
    return Event("call", subject, at, Decimal(1), properties)


def closings(room: AggregatorRoom) -> list[UsagePeriodClosed]:
    events = room.store.read_all(after=0, categories={"period"}).events  # type: ignore[arg-type]  # from the beginning
    return [cast(UsagePeriodClosed, decode(event)) for event in events]


def closed(room: AggregatorRoom) -> list[tuple[str, datetime]]:
    return [(closing.subject, closing.start_at.ToDatetime(UTC)) for closing in closings(room)]


def eventually(is_so: Callable[[], bool]) -> bool:
    """Whether something becomes true within WAIT_S."""
    deadline = Deadline.after(WAIT_S)
    while not is_so() and deadline.left_s():
        threading.Event().wait(0.01)
    return is_so()


def test_a_month_closes_when_its_grace_period_is_over_and_not_before(room: AggregatorRoom) -> None:
    room.record([call(JANUARY)])

    room.clock.advance(DUE - timedelta(microseconds=1))
    assert room.closer.close_due() == 0
    room.clock.advance(DUE)
    assert room.closer.close_due() == 1
    assert closed(room) == [("ann", JANUARY)]


def test_a_closing_says_the_totals_of_every_meter_with_usage(room: AggregatorRoom) -> None:
    last = FEBRUARY - timedelta(microseconds=1)
    counted_up_to = room.record(
        [call(JANUARY, size="1", region="eu"), call(last, size="2", region="us"), call(FEBRUARY)]
    )
    room.clock.advance(DUE)
    room.closer.close_due()

    (closing,) = closings(room)
    assert {total.meter: total.quantity for total in closing.totals} == {"requests": "2", "sizes": "1.5"}
    assert (closing.period, closing.end_at, closing.closed_at) == ("month", to_timestamp(FEBRUARY), to_timestamp(DUE))
    assert closing.position == counted_up_to


def test_usage_that_comes_within_the_grace_period_counts(room: AggregatorRoom) -> None:
    room.record([call(JANUARY)])
    room.clock.advance(DUE)
    room.log.record([call(JANUARY)])

    room.closer.close_due()

    assert [total.quantity for total in closings(room)[0].totals] == ["2"]


def test_a_closed_month_stays_closed_when_late_usage_comes(room: AggregatorRoom) -> None:
    room.record([call(JANUARY)])
    room.clock.advance(DUE)
    room.closer.close_due()

    room.record([call(JANUARY + timedelta(days=3)), call(JANUARY, subject="bob")])

    assert room.closer.close_due() == 1
    assert closed(room) == [("ann", JANUARY), ("bob", JANUARY)]


def test_the_oldest_month_closes_first(room: AggregatorRoom) -> None:
    room.record([call(FEBRUARY, subject="bob"), call(JANUARY, subject="cat"), call(FEBRUARY), call(MARCH)])
    room.clock.advance(MARCH + GRACE)

    assert room.closer.close_due() == 3
    assert closed(room) == [("cat", JANUARY), ("ann", FEBRUARY), ("bob", FEBRUARY)]


def test_usage_that_no_meter_counts_closes_with_no_totals(room: AggregatorRoom) -> None:
    room.record([Event("unmetered", "ann", JANUARY, Decimal(1), {})])
    room.clock.advance(DUE)
    room.closer.close_due()

    assert [(closing.subject, list(closing.totals)) for closing in closings(room)] == [("ann", [])]


def test_several_closers_close_each_period_once(room: AggregatorRoom) -> None:
    room.record([call(JANUARY, subject=f"s{number:03d}") for number in range(150)])
    room.clock.advance(DUE)
    closers = [room.another_closer() for _ in range(3)]

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda closer: closer.close_due(), closers))

    assert sorted(closed(room)) == [(f"s{number:03d}", JANUARY) for number in range(150)]


def test_a_closer_that_starts_again_closes_nothing_twice(room: AggregatorRoom) -> None:
    room.record([call(JANUARY)])
    room.clock.advance(DUE)
    room.closer.close_due()
    room.catch_up()

    assert room.another_closer().close_due() == 0
    assert len(closed(room)) == 1


def test_a_running_closer_closes_by_itself_when_the_clock_has_moved(room: AggregatorRoom) -> None:
    room.record([call(JANUARY)])
    room.closer.start()

    room.clock.advance(DUE)

    assert eventually(lambda: closed(room) == [("ann", JANUARY)])
    assert (room.closer.is_ready(), room.closer.problem()) == (True, "")


def test_closed_periods_are_listed_newest_first_page_by_page(room: AggregatorRoom) -> None:
    room.record([call(JANUARY), call(FEBRUARY), call(JANUARY, subject="bob"), call(FEBRUARY, subject="bob", size="3")])
    room.clock.advance(MARCH + GRACE)
    room.closer.close_due()
    room.catch_up()

    listed, token = [], ""
    while len(listed) < 10:
        page = room.closed.list(api.ListClosedPeriodsRequest(page_size=3, page_token=token))
        listed += page.periods
        token = page.next_page_token
        if not token:
            break

    assert [(period.subject, period.start_at.ToDatetime(UTC)) for period in listed] == [
        ("ann", FEBRUARY),
        ("bob", FEBRUARY),
        ("ann", JANUARY),
        ("bob", JANUARY),
    ]
    assert dict(listed[1].totals) == {"requests": "1", "sizes": "3"}
    only = room.closed.list(api.ListClosedPeriodsRequest(subject="bob")).periods
    assert [(period.subject, period.period, period.end_at) for period in only] == [
        ("bob", "month", to_timestamp(MARCH)),
        ("bob", "month", to_timestamp(FEBRUARY)),
    ]
