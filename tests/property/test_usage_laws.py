"""Laws of usage: every aggregation against a plain implementation over lists, however the usage was batched."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.deadline import Deadline
from services.aggregator.meters.definition import Definition
from services.aggregator.questions.answer import answer
from services.aggregator.questions.query import require_query
from services.kernel.calendar import Span, Window
from services.kernel.clock import epoch_us
from tests.aggregator_room import Log, folded
from tests.plain_usage import UNIT, Event, is_counted, plain_usage

# --- what is tried ---------------------------------------------------------------------------------------------------

# Levels are no sum of what lies in a window; test_level_laws.py has their laws.
METERS = tuple(
    Definition(
        f"{name}_{number}",
        "",
        "call",
        name,
        value_property,
        ("region", "tier"),
        "",
        percentile="90" if name is AggregationName.PERCENTILE else "",
    )
    for name in AggregationName
    if name is not AggregationName.WEIGHTED_SUM
    for number, value_property in enumerate(("",) if name is AggregationName.COUNT else ("", "size"))
)

MOST_UNITS = 10**38 - 1
decimals = st.one_of(
    st.integers(-MOST_UNITS, MOST_UNITS),
    st.sampled_from([MOST_UNITS, -MOST_UNITS, 0, 1, -500_000]),
    st.integers(0, 5).map(lambda number: number * UNIT),
).map(lambda number: Decimal(f"{number}E-12"))
odd_sizes = st.sampled_from(["", "x", "1e3", "NaN", "007", "-0"])
sizes = st.one_of(decimals.map(lambda number: format(number, "f")), odd_sizes)
HOURS = datetime(2024, 3, 31, 22, tzinfo=UTC)
instants = st.one_of(
    st.sampled_from([HOURS, HOURS + timedelta(hours=1), HOURS - timedelta(microseconds=1)]),
    st.integers(0, 6 * 3_600).map(lambda seconds: HOURS + timedelta(seconds=seconds)),
    st.sampled_from([datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)]),
)


def usage_events(at: st.SearchStrategy[datetime]) -> st.SearchStrategy[Event]:
    properties = st.fixed_dictionaries(
        {},
        optional={
            "size": sizes,
            "region": st.sampled_from(["eu", "us", "", 'ü"\\,']),
            "tier": st.sampled_from(["eu", "gold"]),
        },
    )
    types, subjects = st.sampled_from(["call", "call", "other"]), st.sampled_from(["ann", "bob"])
    return st.builds(Event, types, subjects, at, decimals, properties)


batches_of_usage = st.lists(st.lists(usage_events(instants), min_size=1, max_size=6), min_size=1, max_size=5)


def all_of(batches: Sequence[Sequence[Event]]) -> list[Event]:
    return [event for batch in batches for event in batch]


# --- the laws --------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(batches=batches_of_usage, cuts=st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_every_aggregation_says_what_plain_python_says_over_lists(batches: list[list[Event]], cuts: list[int]) -> None:
    log = Log()
    log.create(METERS)
    for number, batch in enumerate(batches):
        log.record(batch, partition=str(number % 2))

    with folded(log, cuts) as read_model:
        for meter in METERS:
            (row,) = read_model.usage(meter)
            assert row.value == plain_usage(meter, [event for event in all_of(batches) if event.type == "call"])


@settings(max_examples=20, deadline=None)
@given(batches=batches_of_usage)
def test_groups_split_usage_and_name_what_is_missing_by_an_empty_text(batches: list[list[Event]]) -> None:
    log = Log()
    log.create(METERS)
    for batch in batches:
        log.record(batch)

    with folded(log) as read_model:
        for meter in METERS:
            groups: dict[tuple[str, str], list[Event]] = {}
            for event in filter(lambda event: is_counted(meter, event), all_of(batches)):
                groups.setdefault((event.subject, event.properties.get("region", "")), []).append(event)
            expected = [(group, plain_usage(meter, groups[group])) for group in sorted(groups)]
            rows = read_model.usage(meter, ("subject", "region"))
            assert [(row.group, row.value) for row in rows] == expected


@settings(max_examples=20, deadline=None)
@given(
    batches=batches_of_usage,
    meters_at=st.integers(0, 5),
    live_cuts=st.lists(st.integers(1, 5), min_size=1, max_size=4),
)
def test_a_rebuild_gives_the_rows_of_the_live_fold(
    batches: list[list[Event]], meters_at: int, live_cuts: list[int]
) -> None:
    log = Log()
    log.create(METERS[:4])
    for number, batch in enumerate(batches):
        if number == meters_at:
            log.create(METERS[4:9])
        log.record(batch)
    log.create(METERS[9:])

    with folded(log, live_cuts) as live, folded(log, [1_000]) as rebuilt, folded(log, [1]) as slowly_rebuilt:
        assert live.digest() == rebuilt.digest() == slowly_rebuilt.digest()


@settings(max_examples=30, deadline=None)
@given(batches=batches_of_usage, cuts=st.lists(st.integers(1, 30), min_size=1, max_size=3))
def test_a_meter_created_last_counts_what_one_created_first_counts(batches: list[list[Event]], cuts: list[int]) -> None:
    early, late = Log(), Log()
    early.create(METERS)
    for batch in batches:
        early.record(batch)
        late.record(batch)
    late.create(METERS)

    with folded(early) as before, folded(late, cuts) as after:
        for meter in METERS:
            for group_by in ((), ("subject", "tier", "region")):
                assert before.usage(meter, group_by) == after.usage(meter, group_by)


ZONES = {
    "UTC": datetime(2024, 2, 28, 12, tzinfo=UTC),
    "Asia/Kathmandu": datetime(2024, 2, 28, 12, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2024, 4, 5, 12, tzinfo=UTC),
    "Pacific/Apia": datetime(2011, 12, 29, 0, tzinfo=UTC),
    "America/New_York": datetime(2024, 3, 9, 12, tzinfo=UTC),
    "America/St_Johns": datetime(2010, 11, 6, 12, tzinfo=UTC),
}
MICROSECONDS = 3 * 24 * 3_600 * 1_000_000


@st.composite
def usage_around_a_shift(draw: st.DrawFn) -> tuple[str, list[list[Event]], Span]:
    zone = draw(st.sampled_from(sorted(ZONES)))
    instant = st.one_of(st.integers(0, 72).map(lambda hours: hours * 3_600_000_000), st.integers(0, MICROSECONDS)).map(
        lambda offset: ZONES[zone] + timedelta(microseconds=offset)
    )
    start, end = sorted(draw(st.lists(instant, min_size=2, max_size=2, unique=True)))
    batches = draw(st.lists(st.lists(usage_events(instant), min_size=1, max_size=8), min_size=1, max_size=4))
    return zone, batches, Span(start, end)


@settings(max_examples=100, deadline=None)
@given(
    usage=usage_around_a_shift(),
    window=st.sampled_from(sorted(Window)),
    meter=st.sampled_from(METERS),
    subjects=st.sampled_from([(), ("ann",), ("ann", "nobody")]),
)
def test_windows_tile_any_range_in_any_zone_and_say_what_their_usage_events_say(
    usage: tuple[str, list[list[Event]], Span], window: Window, meter: Definition, subjects: tuple[str, ...]
) -> None:
    zone, batches, span = usage
    log = Log()
    log.create([meter])
    for number, batch in enumerate(batches):
        log.record(batch, partition=str(number % 2))
    counted = [
        event for event in all_of(batches) if event.type == "call" and (not subjects or event.subject in subjects)
    ]

    with folded(log, [2]) as read_model:
        query = require_query(meter, subjects, span, window, ZoneInfo(zone), ())
        rows = answer(read_model.snapshot, query, Deadline.after(60))

    assert [rows[0].span.start, *(row.span.end for row in rows)] == [*(row.span.start for row in rows), span.end]
    assert rows[0].span.start == span.start
    for row in rows:
        assert row.value == plain_usage(meter, [event for event in counted if event.at in row.span])


@settings(max_examples=30, deadline=None)
@given(batches=batches_of_usage)
def test_the_index_of_batches_and_the_hours_with_usage_follow_the_log(batches: list[list[Event]]) -> None:
    log = Log()
    for batch in batches:
        log.record(batch)

    with folded(log, [2]) as read_model:
        tables, connection = read_model.snapshot.tables, read_model.snapshot.connection
        indexed = connection.execute(select(tables.batches).order_by(tables.batches.c.position)).all()
        hours = connection.execute(select(tables.periods.subject_hours)).all()

    assert [(row.usage_event_count, row.first_at_us, row.last_at_us) for row in indexed] == [
        (len(batch), min(epoch_us(event.at) for event in batch), max(epoch_us(event.at) for event in batch))
        for batch in batches
    ]
    last_positions: dict[tuple[int, str], int] = {}
    for position, batch in enumerate(batches, start=1):
        for event in batch:
            last_positions[epoch_us(event.at.replace(minute=0, second=0, microsecond=0)), event.subject] = position
    assert {(row.hour_us, row.subject): row.position for row in hours} == last_positions
