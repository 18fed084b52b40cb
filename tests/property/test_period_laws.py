"""Laws of periods: what is closed and restated is what the usage says at each position, however the log is folded."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import cycle
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import MetaData

from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.deadline import Deadline
from services.aggregator.meters.definition import Definition
from services.aggregator.periods.changed_periods import changed_periods
from services.aggregator.periods.closed_periods import ClosedChoice, ClosedPeriod, list_closed
from services.aggregator.periods.closings import counted_positions
from services.aggregator.periods.period import PERIOD, PeriodEvent, PeriodStatement, period_stream
from services.aggregator.periods.period_counts import subjects_with_usage, usage_of
from services.aggregator.periods.period_kind import PeriodKind
from services.aggregator.periods.period_statements import close_counted, restate_counted
from services.aggregator.periods.usage_periods import UsagePeriods
from services.eventstore.catalogue import decode
from services.eventstore.event import BEGINNING, Position
from services.kernel.calendar import Span, Window, periods, time_zone
from services.kernel.clock import epoch_us
from tests.aggregator_room import NOW, WAIT_S, Log, folded
from tests.databases import USUAL, scratch
from tests.plain_usage import Event, plain_usage

COUNT = Definition("calls", "", "call", AggregationName.COUNT, "", (), "")
SUM = Definition("sizes", "", "call", AggregationName.SUM, "", ("region",), "")
LAST = Definition("last", "", "call", AggregationName.LAST, "", (), "")
LEVEL = Definition("level", "", "call", AggregationName.WEIGHTED_SUM, "", (), "")

SHIFTS = {
    "UTC": datetime(2024, 2, 28, tzinfo=UTC),
    "America/Sao_Paulo": datetime(2018, 11, 3, tzinfo=UTC),
    "Asia/Kathmandu": datetime(2024, 2, 28, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2024, 4, 5, tzinfo=UTC),
    "Pacific/Apia": datetime(2011, 12, 29, tzinfo=UTC),
    "Pacific/Chatham": datetime(2024, 4, 5, tzinfo=UTC),
}
DAYS = 4


@st.composite
def steps_of_usage(draw: st.DrawFn) -> tuple[PeriodKind, list[list[Event]]]:
    """Batches of usage within DAYS of a shift, and a kind of period in a zone that shifts."""
    zone = draw(st.sampled_from(sorted(SHIFTS)))
    offsets = st.one_of(
        st.integers(0, DAYS * 96).map(lambda quarters: timedelta(minutes=15 * quarters)),
        st.integers(0, DAYS * 86_400_000_000).map(lambda us: timedelta(microseconds=us)),
    )
    event = st.builds(
        Event,
        st.sampled_from(["call", "call", "other"]),
        st.sampled_from(["ann", "bob"]),
        offsets.map(SHIFTS[zone].__add__),
        st.integers(-3, 9).map(Decimal),
        st.just({}),
    )
    kind = PeriodKind(draw(st.sampled_from([Window.HOUR, Window.DAY, Window.WEEK, Window.MONTH])), zone)
    return kind, draw(st.lists(st.lists(event, min_size=1, max_size=5), min_size=1, max_size=4))


def state(log: Log, events: Sequence[Event], kinds: Sequence[PeriodKind], since: Position) -> Position:
    """One look of a worker: close the periods of some events, and restate what changed behind `since`."""
    with folded(log) as read_model:
        source, deadline = read_model.snapshot, Deadline.after(WAIT_S)
        changed = changed_periods(source, since)
        for closed_span in changed.spans:
            touched = changed.subjects_in(source, closed_span)
            counted = usage_of(source, closed_span.kind, closed_span.span, touched, NOW, deadline)
            restate_counted(log.store, counted, NOW)
        for kind, span in spans_with_usage(events, kinds):
            subjects = subjects_with_usage(source, span)
            closed = counted_positions(source.connection, source.tables, kind.key, epoch_us(span.start), subjects)
            still_open = [subject for subject in subjects if subject not in closed]
            close_counted(log.store, usage_of(source, kind, span, still_open, NOW, deadline), NOW)
        return source.position


def spans_with_usage(events: Sequence[Event], kinds: Sequence[PeriodKind]) -> list[tuple[PeriodKind, Span]]:
    return [(kind, span) for kind in kinds for span in sorted({kind.period_of(event.at) for event in events})]


def statements(log: Log) -> list[PeriodEvent]:
    recorded = log.store.read_all(after=BEGINNING, categories={"period"}).events
    return [cast(PeriodEvent, decode(event)) for event in recorded]


def statement_after(stated: PeriodStatement | None, event: PeriodEvent) -> PeriodStatement:
    after = PERIOD.evolve(stated, event)
    assert after is not None
    return after


def totals_of(events: Sequence[Event], meters: Sequence[Definition]) -> dict[str, str]:
    calls = [event for event in events if event.type == "call"]
    return {meter.slug: str(plain_usage(meter, calls)) for meter in meters if calls}


@settings(max_examples=8, deadline=None)
@given(steps_of_usage())
def test_what_is_said_of_a_period_is_what_its_usage_says_at_that_position(
    usage: tuple[PeriodKind, list[list[Event]]],
) -> None:
    kind, batches = usage
    log, since, recorded = Log(), BEGINNING, list[tuple[Position, Event]]()
    log.create([COUNT, SUM, LAST])
    for number, batch in enumerate(batches):
        position = log.record(batch, partition=str(number % 2))
        recorded += [(position, event) for event in batch]
        since = state(log, batch, [kind], since)

    said: dict[tuple[str, int], PeriodStatement] = {}
    for event in statements(log):
        key = (event.subject, event.start_at.seconds)
        stated = said[key] = statement_after(said.get(key), event)
        span = Span(event.start_at.ToDatetime(UTC), event.end_at.ToDatetime(UTC))
        within = [each for at, each in recorded if at <= stated.position and each.at in span]
        of_subject = [each for each in within if each.subject == event.subject]
        assert of_subject, "a period without usage is not closed"
        assert dict(stated.totals) == totals_of(of_subject, [COUNT, SUM, LAST])
    assert {(each.subject, kind.period_of(each.at).start) for _, each in recorded} == {
        (subject, datetime.fromtimestamp(start_s, UTC)) for subject, start_s in said
    }
    said_so_far = len(statements(log))
    state(log, [], [kind], since)
    assert len(statements(log)) == said_so_far, "nothing new is said when nothing happened"


@settings(max_examples=5, deadline=None)
@given(steps_of_usage())
def test_a_level_that_lasts_restates_the_periods_behind_it(usage: tuple[PeriodKind, list[list[Event]]]) -> None:
    """Late usage of a level changes closed periods in which nothing was recorded late."""
    kind, batches = replace_hours(usage)
    log, since = Log(), BEGINNING
    log.create([LEVEL])
    for batch in batches:
        log.record(batch)
        since = state(log, batch, [kind], since)

    said: dict[tuple[str, Span], PeriodStatement] = {}
    for event in statements(log):
        span = Span(event.start_at.ToDatetime(UTC), event.end_at.ToDatetime(UTC))
        said[event.subject, span] = statement_after(said.get((event.subject, span)), event)
    with folded(log) as read_model:
        for (subject, span), stated in said.items():
            source, deadline = read_model.snapshot, Deadline.after(WAIT_S)
            (counted,) = usage_of(source, kind, span, [subject], NOW, deadline)
            assert dict(stated.totals) == dict(counted.totals)


def replace_hours(usage: tuple[PeriodKind, list[list[Event]]]) -> tuple[PeriodKind, list[list[Event]]]:
    """The same by days: a law about four days needs no hours."""
    kind, batches = usage
    return (replace(kind, length=Window.DAY) if kind.length is Window.HOUR else kind), batches


@settings(max_examples=5, deadline=None)
@given(steps_of_usage())
def test_closed_days_add_up_to_the_closed_month(usage: tuple[PeriodKind, list[list[Event]]]) -> None:
    """lago #1438, killbill #1934: what a day is may change with the clock, what a month's days add up to may not."""
    kind, batches = usage
    day, month = PeriodKind(Window.DAY, kind.zone), PeriodKind(Window.MONTH, kind.zone)
    log, since = Log(), BEGINNING
    log.create([COUNT, SUM])
    for batch in batches:
        log.record(batch)
        since = state(log, batch, [day, month], since)

    totals: dict[str, dict[tuple[str, str], Decimal]] = {Window.DAY: {}, Window.MONTH: {}}
    streams = {(event.subject, event.period, event.start_at.seconds): event for event in statements(log)}
    for subject, period, start_s in streams:
        start = datetime.fromtimestamp(start_s, UTC)
        of_kind = day if period == Window.DAY else month
        span = of_kind.period_of(start)
        recorded = log.store.read_stream(period_stream(subject, of_kind, span))
        stated = PERIOD.fold(cast(PeriodEvent, decode(event)) for event in recorded)
        assert stated is not None
        for meter, quantity in stated.totals.items():
            key = (f"{subject} {month.period_of(start).start}", meter)
            totals[period][key] = totals[period].get(key, Decimal(0)) + Decimal(quantity)
    assert totals[Window.DAY] == totals[Window.MONTH]


@settings(max_examples=5, deadline=None)
@given(steps_of_usage(), st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_a_replay_gives_the_rows_of_the_live_fold(usage: tuple[PeriodKind, list[list[Event]]], cuts: list[int]) -> None:
    kind, batches = replace_hours(usage)
    log, since = Log(), BEGINNING
    log.create([COUNT])
    for batch in batches:
        log.record(batch)
        since = state(log, batch, [kind], since)
    log.create([SUM])
    state(log, [], [kind], since)

    with folded(log, cuts) as live, folded(log) as replayed:
        assert live.digest() == replayed.digest()
        rows = [
            [tuple(row) for row in each.snapshot.connection.execute(table.select())]
            for each in (live, replayed)
            for table in (each.snapshot.tables.periods.subject_hours, each.snapshot.tables.periods.closings)
        ]
        assert rows[:2] == rows[2:], "positions, too, which a digest leaves out"
    assert list_of_periods(log, cuts) == list_of_periods(log, [1_000])


def list_of_periods(log: Log, cuts: Sequence[int]) -> list[ClosedPeriod]:
    """What "usage_periods" lists when the log is folded in pieces of `cuts` events, again and again."""
    projection, metadata = UsagePeriods(), MetaData()
    tables = projection.tables(metadata, "__g1")
    events = log.store.read_all(after=BEGINNING, categories=projection.categories).events
    with scratch(USUAL) as connection:
        metadata.create_all(connection)
        sizes, first = cycle(cuts), 0
        while first < len(events):
            size = next(sizes)
            projection.fold(connection, tables, events[first : first + size])
            first += size
        return list_closed(connection, tables, ClosedChoice(), after=None, limit=1_000)[0]


@given(st.sampled_from([Window.HOUR, Window.DAY, Window.WEEK, Window.MONTH]), st.sampled_from(sorted(SHIFTS)))
def test_the_periods_of_the_hours_are_all_the_periods(length: Window, zone: str) -> None:
    kind, start = PeriodKind(length, zone), SHIFTS[zone]
    hours = [epoch_us(start + timedelta(hours=hour)) for hour in range(DAYS * 24)]
    found = {span for hour in hours for span in kind.periods_of_hour(hour)}

    expected = []
    for span in periods(length, start, time_zone(zone)):
        if span.start >= start + timedelta(days=DAYS):
            break
        expected.append(span)
    assert sorted(found) == expected
