"""Laws of meters with filters, expressions, groups and versions: live fold = replay = usage itself = plain Python."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.aggregations.table import aggregation_of
from services.aggregator.deadline import Deadline
from services.aggregator.meters.conditions import Condition, Operator
from services.aggregator.meters.definition import Definition
from services.aggregator.meters.expression import parse_expression
from services.aggregator.meters.meter import METER, CreateMeter, RedefineMeter, meter_stream
from services.aggregator.meters.meter_rows import read_meter
from services.aggregator.questions.answer import answer
from services.aggregator.questions.asked_groups import by_asked_groups, group_columns
from services.aggregator.questions.query import UsageQuery, require_query
from services.aggregator.questions.slices import Slices
from services.aggregator.states.raw_states import unkept_states
from services.eventstore.decider import handle
from services.kernel.calendar import Span, Window
from services.kernel.errors import InvalidInput
from tests.aggregator_room import NOW, Folded, Log, folded
from tests.plain_expression import Written, expressions
from tests.plain_meters import Counted, PlainVersion, counted_by, level_hours, quantity
from tests.plain_usage import Event, is_number

UTC_ZONE = ZoneInfo("UTC")
START = datetime(2024, 3, 31, 22, tzinfo=UTC)
HOUR = timedelta(hours=1)
PERCENT = "75"

Met = Callable[[Event], bool]
Said = dict[tuple[object, ...], str | None]


@dataclass(frozen=True)
class Version:
    """One version of a meter, for the aggregator and for plain Python."""

    definition: Definition
    since: datetime | None
    plain: PlainVersion


# --- what is tried ---------------------------------------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-20, 20).map(str),
    st.sampled_from(["0.5", "-0.000000000001", "99999999999999999999999999.999999999999", "7.25", "1024"]),
)
texts = st.one_of(numbers, st.sampled_from(["", "x", "1e3"]))
instants = st.one_of(
    st.integers(0, 6).map(lambda hours: START + hours * HOUR),
    st.integers(0, 6 * 3_600 * 10**6 - 1).map(lambda offset: START + timedelta(microseconds=offset)),
    st.just(START - 30 * HOUR - timedelta(microseconds=1)),
)
properties = st.fixed_dictionaries(
    {},
    optional={
        "a": texts,
        "b_2": texts,
        "value": numbers,
        "region": st.sampled_from(["eu", "us", ""]),
        "tier": st.sampled_from(["gold", "eu"]),
    },
)
usage_events = st.builds(
    Event,
    st.sampled_from(["call", "call", "call", "other"]),
    st.sampled_from(["ann", "bob"]),
    instants,
    numbers.map(Decimal),
    properties,
)
batches_of_usage = st.lists(st.lists(usage_events, min_size=1, max_size=6), min_size=1, max_size=5)

CONDITIONS: list[tuple[Condition, Met]] = [
    (Condition("region", Operator.EQUALS, ("eu",)), lambda event: event.properties.get("region") == "eu"),
    (Condition("region", Operator.NOT_IN, ("eu", "")), lambda event: event.properties.get("region") not in ("eu", "")),
    (Condition("tier", Operator.PREFIX, ("go",)), lambda event: event.properties.get("tier", "").startswith("go")),
    (Condition("a", Operator.EXISTS), lambda event: "a" in event.properties),
    (
        Condition("a", Operator.GREATER_OR_EQUAL, ("0.5",)),
        lambda event: is_number(event.properties.get("a", "")) and Fraction(event.properties["a"]) >= Fraction(1, 2),
    ),
    (Condition("$value", Operator.LESS, ("7.25",)), lambda event: event.value < Decimal("7.25")),
    (Condition("$source", Operator.EQUALS, ("test",)), lambda _event: True),
    (Condition("$source", Operator.PREFIX, ("x",)), lambda _event: False),
    (Condition("$value", Operator.IN, ("1024.0", "3")), lambda event: event.value in (1024, 3)),
]


def is_written(written: Written | None) -> bool:
    try:
        return written is None or parse_expression(written[0]) is not None
    except InvalidInput:
        return False


@st.composite
def versions_of(draw: st.DrawFn, aggregation: AggregationName) -> tuple[Version, ...]:
    versions: list[Version] = []
    for number in range(draw(st.integers(1, 3))):
        filters = draw(st.lists(st.sampled_from(CONDITIONS), max_size=2))
        is_counting = aggregation is AggregationName.COUNT
        written = None if is_counting else draw(st.one_of(st.none(), expressions).filter(is_written))
        value_property = "" if is_counting or written else draw(st.sampled_from(["", "a"]))
        since = draw(st.one_of(st.none(), st.integers(0, 6))) if number else None
        group_by = ("region",) if number == 0 else versions[-1].definition.group_by
        if number and since is None:
            group_by = draw(st.sampled_from([group_by, ("tier",), ("region", "tier")]))
        elif number and aggregation is not AggregationName.WEIGHTED_SUM and group_by == ("region",):
            group_by = draw(st.sampled_from([group_by, ("region", "tier")]))
        event_type = draw(st.sampled_from(["call", "call", "other"]))
        definition = Definition(
            slug="m",
            display_name="m",
            event_type=event_type,
            aggregation=aggregation,
            value_property=value_property,
            group_by=group_by,
            unit="",
            filters=tuple(condition for condition, _ in filters),
            value_expression="" if written is None else written[0],
            percentile=PERCENT if aggregation is AggregationName.PERCENTILE else "",
        )
        at = None if since is None else START + since * HOUR
        met = tuple(is_met for _, is_met in filters)
        versions.append(Version(definition, at, PlainVersion(event_type, group_by, met, written, value_property, at)))
    return tuple(versions)


meters = st.sampled_from(AggregationName).flatmap(versions_of)


def write(log: Log, versions: Sequence[Version], batches: Sequence[list[Event]], turns: Sequence[int]) -> None:
    """The batches in order, each version before the batch of its turn (one turn a version), the rest at the end."""
    waiting = list(enumerate(versions))
    for number, batch in enumerate([*batches, None]):
        while waiting and (batch is None or turns[waiting[0][0]] <= number):
            index, version = waiting.pop(0)
            define(log, index, version)
        if batch is not None:
            log.record(batch, partition=str(number % 2))


def define(log: Log, index: int, version: Version) -> None:
    create = CreateMeter(version.definition, NOW)
    redefine = RedefineMeter(version.definition, version.since, log_version(log), NOW)
    handle(log.store, METER, meter_stream("m"), redefine if index else create, NOW)


def log_version(log: Log) -> int:
    return len(log.store.read_stream(meter_stream("m")))


def the_meter(read_model: Folded) -> Definition:
    return read_meter(read_model.snapshot.connection, read_model.snapshot.tables, "m").definition


def by_usage(read_model: Folded, query: UsageQuery) -> dict[tuple[object, ...], str]:
    """The same question answered from usage events alone: the quantity of each window and group that occurs."""
    aggregation, slices = aggregation_of(query.meter), Slices.of(query.windows)
    keys = ["window", *group_columns(query)]
    until = read_model.snapshot.position
    parts = [
        aggregation.merge(by_asked_groups(states, query), keys)
        for states in unkept_states(read_model.snapshot, query, slices, until)
    ]
    if not parts:
        return {}
    said = aggregation.quantities(pa.concat_tables(parts), keys)
    columns = [said[name].to_pylist() for name in (*keys, "value")]
    return {tuple(row[:-1]): row[-1] for row in zip(*columns, strict=True)}


def plainly(meter: Definition, counted: Sequence[Counted], span: Span) -> str | None:
    if meter.aggregation is AggregationName.WEIGHTED_SUM:
        return level_hours(counted, span.start, span.end, NOW)
    return quantity(str(meter.aggregation), PERCENT, [each for each in counted if each.at in span])


# --- the laws --------------------------------------------------------------------------------------------------------

spans = st.tuples(instants, instants).map(sorted).filter(lambda ends: ends[0] < ends[1]).map(lambda ends: Span(*ends))
turns_of_versions = st.lists(st.integers(0, 5), min_size=3, max_size=3).map(sorted)
cuts_of_folds = st.lists(st.integers(1, 4), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(
    versions=meters,
    batches=batches_of_usage,
    turns=turns_of_versions,
    cuts=cuts_of_folds,
    span=spans,
    window=st.sampled_from([Window.NONE, Window.HOUR]),
)
def test_a_meter_says_what_plain_python_says_from_its_hours_and_from_usage_alone(
    versions: tuple[Version, ...],
    batches: list[list[Event]],
    turns: list[int],
    cuts: list[int],
    span: Span,
    window: Window,
) -> None:
    """lago #4272, #2721, #4134: two engines for one aggregation disagreed; here three agree on every aggregation."""
    log = Log()
    write(log, versions, batches, turns)
    events = [event for batch in batches for event in batch]
    counted = counted_by([version.plain for version in versions], str(versions[0].definition.aggregation), events)

    with folded(log, cuts) as read_model:
        meter = the_meter(read_model)
        query = require_query(meter, (), span, window, UTC_ZONE, ()).at(NOW, None)
        rows = answer(read_model.snapshot, query, Deadline.after(60))
        recounted = by_usage(read_model, query)

    empty = aggregation_of(meter).empty
    expected = [plainly(meter, counted, row.span) for row in rows]
    assert [row.value for row in rows] == expected
    assert [recounted.get((number,), empty) for number in range(len(rows))] == expected


@settings(max_examples=25, deadline=None)
@given(versions=meters, batches=batches_of_usage, turns=turns_of_versions, span=spans)
def test_groups_of_every_version_add_up_to_what_plain_python_says(
    versions: tuple[Version, ...], batches: list[list[Event]], turns: list[int], span: Span
) -> None:
    log = Log()
    write(log, versions, batches, turns)
    events = [event for batch in batches for event in batch]
    counted = counted_by([version.plain for version in versions], str(versions[0].definition.aggregation), events)

    with folded(log, [2]) as read_model:
        meter = the_meter(read_model)
        query = require_query(meter, (), span, Window.NONE, UTC_ZONE, ("subject", *meter.group_by)).at(NOW, None)
        rows: Said = {row.group: row.value for row in answer(read_model.snapshot, query, Deadline.after(60))}
        recounted: Said = {tuple(key[1:]): value for key, value in by_usage(read_model, query).items()}

    groups = {(each.subject, *each.group) for each in counted}
    expected: Said = {key: plainly(meter, [e for e in counted if (e.subject, *e.group) == key], span) for key in groups}
    if meter.aggregation is AggregationName.WEIGHTED_SUM:
        rows, recounted, expected = (
            {k: v for k, v in each.items() if v != "0"} for each in (rows, recounted, expected)
        )
    else:
        within = {(each.subject, *each.group) for each in counted if each.at in span}
        expected = {key: value for key, value in expected.items() if key in within}
    assert rows == recounted == expected


@settings(max_examples=20, deadline=None)
@given(versions=meters, batches=batches_of_usage, turns=turns_of_versions, cuts=cuts_of_folds)
def test_a_rebuild_gives_the_rows_of_the_live_fold_whatever_was_redefined_when(
    versions: tuple[Version, ...], batches: list[list[Event]], turns: list[int], cuts: list[int]
) -> None:
    log = Log()
    write(log, versions, batches, turns)

    with folded(log, cuts) as live, folded(log, [1_000]) as rebuilt, folded(log, [1]) as slowly_rebuilt:
        assert live.digest() == rebuilt.digest() == slowly_rebuilt.digest()
