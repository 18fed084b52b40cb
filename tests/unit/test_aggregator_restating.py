"""A closed period whose usage changes is restated: with old and new totals, once, whatever replicas try."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from meterlog.aggregator.v1 import aggregator_pb2 as api
from meterlog.events.v1.meter_pb2 import PeriodTotal, UsagePeriodClosed, UsagePeriodRestated
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.deadline import Deadline
from services.aggregator.meters.definition import Definition
from services.aggregator.periods.period import PeriodEvent, period_stream
from services.aggregator.periods.period_kind import PeriodKind
from services.aggregator.periods.period_statements import restate_counted
from services.eventstore.catalogue import decode, encode
from services.eventstore.event import BEGINNING, NO_STREAM
from services.kernel.calendar import Span
from services.kernel.errors import Unavailable
from services.kernel.timestamp import to_timestamp
from tests.aggregator_room import GRACE, WAIT_S, AggregatorRoom, open_room
from tests.plain_usage import Event

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2024, 2, 1, tzinfo=UTC)
MARCH = datetime(2024, 3, 1, tzinfo=UTC)

REQUESTS = Definition("requests", "", "call", AggregationName.COUNT, "", (), "")
LARGEST = Definition("largest", "", "call", AggregationName.MAX, "size", (), "")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    """January and February are closed for ann (one call each), January for bob too."""
    with open_room(tmp_path, now=JANUARY) as opened:
        opened.log.create([REQUESTS, LARGEST])
        opened.record([call(JANUARY), call(FEBRUARY), call(JANUARY, "bob")])
        opened.clock.advance(MARCH + GRACE)
        opened.closer.close_due()
        opened.restater.restate_changed()
        yield opened


def call(at: datetime, subject: str = "ann", **properties: str) -> Event:
    return Event("call", subject, at, Decimal(1), properties)


def said(room: AggregatorRoom) -> list[PeriodEvent]:
    events = room.store.read_all(after=BEGINNING, categories={"period"}).events
    return [cast(PeriodEvent, decode(event)) for event in events]


def restated(room: AggregatorRoom) -> list[UsagePeriodRestated]:
    return [event for event in said(room) if isinstance(event, UsagePeriodRestated)]


def changes(event: UsagePeriodRestated) -> dict[str, tuple[str, str]]:
    return {total.meter: (total.old_quantity, total.new_quantity) for total in event.totals}


def test_late_usage_restates_the_month_that_it_belongs_to(room: AggregatorRoom) -> None:
    closing = next(event for event in said(room) if event.subject == "ann")
    position = room.record([call(JANUARY, size="3"), call(JANUARY)])

    assert room.restater.restate_changed() == 1

    (event,) = restated(room)
    assert (event.subject, event.period, event.time_zone) == ("ann", "month", "")
    assert (event.start_at, event.end_at) == (to_timestamp(JANUARY), to_timestamp(FEBRUARY))
    assert changes(event) == {"requests": ("1", "3"), "largest": ("", "3")}
    assert (event.restatement, event.previous_position, event.position) == (1, closing.position, position)


def test_a_restatement_counts_up_to_where_it_says(room: AggregatorRoom) -> None:
    """openmeter #2191: a cut-off that is not the one that was counted to."""
    room.record([call(JANUARY)])
    room.restater.restate_changed()
    (event,) = restated(room)

    january = {"start_at": to_timestamp(JANUARY), "end_at": to_timestamp(FEBRUARY), "subjects": ["ann"]}
    for position, quantity in ((event.previous_position, "1"), (event.position, "2")):
        assert room.ask("requests", as_of=position, **january).rows[0].value == quantity


def test_a_period_is_restated_as_often_as_it_changes(room: AggregatorRoom) -> None:
    for _ in range(3):
        room.record([call(JANUARY)])
        room.restater.restate_changed()

    assert [changes(event)["requests"] for event in restated(room)] == [("1", "2"), ("2", "3"), ("3", "4")]
    assert [event.restatement for event in restated(room)] == [1, 2, 3]
    assert [event.previous_position for event in restated(room)[1:]] == [event.position for event in restated(room)[:2]]


def test_nothing_is_said_when_no_total_differs(room: AggregatorRoom) -> None:
    room.record([Event("unmetered", "ann", JANUARY, Decimal(1), {})])
    room.record([call(MARCH), call(FEBRUARY, "bob")])

    assert room.restater.restate_changed() == 0
    assert room.another_restater().restate_changed() == 0
    assert restated(room) == []


def test_usage_restates_however_late_it_comes(room: AggregatorRoom) -> None:
    """killbill #876: late usage reaches back two periods there; here it reaches back as far as periods were closed."""
    room.record([call(datetime(1999, 5, 7, tzinfo=UTC), "old")])
    room.closer.close_due()
    room.record([call(datetime(1999, 5, 9, tzinfo=UTC), "old")])

    assert room.restater.restate_changed() == 1
    assert changes(restated(room)[0])["requests"] == ("1", "2")


def test_usage_that_lands_between_the_count_and_the_closing_is_not_lost(room: AggregatorRoom) -> None:
    """The closing says what was counted; what came before the closing's own place in the log restates it."""
    at = MARCH + timedelta(days=1)
    room.record([call(at, "late")])
    room.clock.advance(datetime(2024, 4, 2, tzinfo=UTC))
    closer, append = room.another_closer(), room.store.submit

    def usage_first(stream: Any, events: Any, expected: int) -> Any:
        if stream.category == "period":
            room.log.record([call(at, "late")], partition="1")
        return append(stream, events, expected)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(room.store, "submit", usage_first)
        closer.close_due()
    room.catch_up()
    room.restater.restate_changed()

    assert [changes(event)["requests"] for event in restated(room)] == [("1", "2")]


def test_a_replica_that_looked_before_another_closed_restates_too(room: AggregatorRoom) -> None:
    """It has seen the usage, but not the period: when the closing is folded, it looks again."""
    at = MARCH + timedelta(days=1)
    counted = room.record([call(at, "late")])
    room.record([call(at, "late")])
    room.restater.restate_changed()
    other = room.another_closer()
    room.clock.advance(datetime(2024, 4, 2, tzinfo=UTC))
    append = room.store.submit

    def as_counted_earlier(stream: Any, events: Any, expected: int) -> Any:
        closing = UsagePeriodClosed.FromString(events[0].payload)
        closing.position = counted
        closing.totals[0].quantity = "1"
        earlier = type(events[0])(events[0].id, events[0].type, 1, closing.SerializeToString())
        return append(stream, [earlier], expected)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(room.store, "submit", as_counted_earlier)
        other.close_due()
    room.catch_up()

    assert room.restater.restate_changed() == 1
    assert changes(restated(room)[0])["requests"] == ("1", "2")


def test_several_restaters_restate_once(room: AggregatorRoom) -> None:
    """lago #879: a second worker that does not see the first's work says it twice."""
    subjects = [f"s{number:03d}" for number in range(150)]
    room.record([call(JANUARY, subject) for subject in subjects])
    room.closer.close_due()
    room.record([call(JANUARY, subject) for subject in subjects])
    restaters = [room.another_restater() for _ in range(3)]

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda restater: restater.restate_changed(), restaters))
    room.catch_up()
    assert sum(restater.restate_changed() for restater in restaters) == 0

    assert sorted(event.subject for event in restated(room)) == subjects
    assert all(changes(event) == {"requests": ("1", "2")} for event in restated(room))


def test_who_counted_earlier_does_not_speak_last(room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow replica has counted two calls when another one states three: its two stay unsaid."""
    room.record([call(JANUARY)])

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.undo()
        room.record([call(JANUARY)])
        assert room.another_restater().restate_changed() == 1
        return restate_counted(*arguments)

    monkeypatch.setattr("services.aggregator.periods.restater.restate_counted", overtaken)
    assert room.restater.restate_changed() == 0
    room.catch_up()
    room.restater.restate_changed()

    assert [changes(event)["requests"] for event in restated(room)] == [("1", "3")]


def test_a_restatement_whose_outcome_was_unknown_is_said_once(
    room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store took the first of two and the worker did not hear of it: killed, or cut off."""
    room.record([call(JANUARY), call(JANUARY, "bob")])
    submit = room.store.submit

    def cut_off(stream: Any, events: Any, expected: int) -> Any:
        submit(stream, events, expected).result(WAIT_S)
        raise Unavailable("the connection was lost")

    with monkeypatch.context() as patched:
        patched.setattr(room.store, "submit", cut_off)
        with pytest.raises(Unavailable):
            room.restater.restate_changed()
    room.clock.advance(MARCH + timedelta(days=1))
    room.restater.restate_changed()
    room.another_restater().restate_changed()

    assert sorted((event.subject, event.restatement) for event in restated(room)) == [("ann", 1), ("bob", 1)]


def test_a_meter_that_is_created_later_restates_what_was_closed_without_it(room: AggregatorRoom) -> None:
    room.create("sum_of_calls", group_by=[])

    assert room.restater.restate_changed() == 3
    assert all(changes(event) == {"sum_of_calls": ("", "1")} for event in restated(room))


def test_a_restater_that_starts_again_finds_what_it_had_not_restated(room: AggregatorRoom) -> None:
    room.record([call(JANUARY)])

    assert room.another_restater().restate_changed() == 1
    room.catch_up()
    assert room.another_restater().restate_changed() == 0


def test_a_restatement_is_logged_as_news_and_no_warning(room: AggregatorRoom) -> None:
    with capture_logs() as lines:
        room.record([call(JANUARY), call(JANUARY, "bob")])
        room.restater.restate_changed()

    assert [line["event"] for line in lines] == ["periods restated"]
    (line,) = lines
    assert (line["log_level"], line["period"], line["subjects"]) == ("info", "month", 2)
    assert line["start_at"] == "2024-01-01T00:00:00+00:00"


def test_a_running_restater_restates_by_itself(room: AggregatorRoom) -> None:
    room.restater.start()
    room.record([call(JANUARY)])

    deadline = Deadline.after(WAIT_S)
    while not restated(room) and deadline.left_s():
        threading.Event().wait(0.01)
    assert len(restated(room)) == 1
    assert (room.restater.is_ready(), room.restater.problem()) == (True, "")


def test_what_was_restated_is_listed_with_what_changed(room: AggregatorRoom) -> None:
    """flexprice #605: a correction has an audit trail, and whoever was told the old total can see the new one."""
    room.record([call(JANUARY)])
    room.restater.restate_changed()
    room.record([call(JANUARY, size="2")])
    room.restater.restate_changed()
    room.catch_up()

    (period,) = room.closed.list(api.ListClosedPeriodsRequest(only_restated=True)).periods
    assert (period.subject, dict(period.totals)) == ("ann", {"requests": "3", "largest": "2"})
    assert [restatement.number for restatement in period.restatements] == [1, 2]
    assert period.position == period.restatements[1].position
    assert period.restatements[1].previous_position == period.restatements[0].position
    largest, requests = period.restatements[1].totals
    assert (largest.meter, largest.HasField("old_value"), largest.new_value) == ("largest", False, "2")
    assert (requests.meter, requests.old_value, requests.new_value) == ("requests", "2", "3")
    assert len(room.closed.list(api.ListClosedPeriodsRequest()).periods) == 3


def test_a_log_that_was_numbered_anew_counts_its_periods_again(room: AggregatorRoom) -> None:
    """A closing says a position of the store that it was made in; in another store there may be none like it."""
    room.record([call(JANUARY, "moved"), call(JANUARY, "moved")])
    closing = UsagePeriodClosed(
        subject="moved",
        period="month",
        position=10**9,
        totals=[PeriodTotal(meter="requests", quantity="1")],
        start_at=to_timestamp(JANUARY),
        end_at=to_timestamp(FEBRUARY),
        closed_at=to_timestamp(MARCH),
    )
    stream = period_stream("moved", PeriodKind.parse("month"), Span(JANUARY, FEBRUARY))
    room.store.append(stream, [encode(closing, stream, 0, MARCH)], NO_STREAM)
    room.catch_up()

    assert room.restater.restate_changed() == 1
    assert changes(restated(room)[0]) == {"requests": ("1", "2")}
