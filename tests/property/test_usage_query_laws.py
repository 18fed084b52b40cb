"""Laws of questions: windows, zones, groups, filters, the greatest, pages and past positions against a plain model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.deadline import Deadline
from services.aggregator.meters.conditions import Condition, Operator
from services.aggregator.meters.definition import Definition
from services.aggregator.questions.answer import full_answer
from services.aggregator.questions.query import UsageQuery, UsageRow, require_query
from services.eventstore.event import Position
from services.kernel.calendar import Span, Window
from tests.aggregator_room import Log, folded
from tests.plain_usage import Event, is_counted, plain_usage

MIDNIGHT = datetime(2024, 4, 6, tzinfo=UTC)
METERS = tuple(
    Definition(f"{name}_{number}", "", "call", name, value_property, ("region", "tier"), "", percentile=percentile)
    for number, (name, value_property) in enumerate(
        [*product((name for name in AggregationName if name is not AggregationName.WEIGHTED_SUM), ("", "size"))]
    )
    if not (name is AggregationName.COUNT and value_property)
    for percentile in ("90" if name is AggregationName.PERCENTILE else "",)
)
WAIT_S = 60

# --- what is asked ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Filter:
    """A filter, and what it means for the text of a group."""

    condition: Condition
    is_met: Callable[[str], bool]


def number_above_5(text: str) -> bool:
    return text.isdigit() and int(text) > 5


FILTERS = (
    Filter(Condition("region", Operator.EQUALS, ("eu",)), lambda text: text == "eu"),
    Filter(Condition("region", Operator.NOT_EQUALS, ("eu",)), lambda text: text != "eu"),
    Filter(Condition("region", Operator.IN, ("eu", "")), lambda text: text in ("eu", "")),
    Filter(Condition("region", Operator.NOT_IN, ("eu", "us")), lambda text: text not in ("eu", "us")),
    Filter(Condition("tier", Operator.PREFIX, ("1",)), lambda text: text.startswith("1")),
    Filter(Condition("tier", Operator.GREATER, ("5",)), number_above_5),
    Filter(Condition("tier", Operator.EXISTS), lambda text: text != ""),
    Filter(Condition("tier", Operator.NOT_EXISTS), lambda text: text == ""),
)

instants = st.one_of(
    st.integers(-30, 80).map(lambda hours: MIDNIGHT + timedelta(hours=hours)),
    st.integers(0, 200_000).map(lambda seconds: MIDNIGHT + timedelta(seconds=seconds)),
)
events = st.builds(
    Event,
    st.sampled_from(["call", "call", "other"]),
    st.sampled_from(["ann", "bob", "cat"]),
    instants,
    st.sampled_from(["1", "2", "5", "0.1", "-3", "99999999999999999999999999.000000000001"]).map(Decimal),
    st.fixed_dictionaries(
        {},
        optional={
            "size": st.sampled_from(["1", "2.50", "x", ""]),
            "region": st.sampled_from(["eu", "us", ""]),
            "tier": st.sampled_from(["1", "10", "gold"]),
        },
    ),
)
batches_of_usage = st.lists(st.lists(events, min_size=1, max_size=8), min_size=1, max_size=5)


@dataclass(frozen=True)
class Question:
    """What is asked of a log, in plain values; `batches_known` is how many batches `as_of` covers."""

    meter: Definition
    span: Span
    window: Window
    zone: str
    subjects: tuple[str, ...]
    group_by: tuple[str, ...]
    filters: tuple[Filter, ...]
    top: int
    batches_known: int

    def query(self, position: Position) -> UsageQuery:
        asked = require_query(self.meter, self.subjects, self.span, self.window, ZoneInfo(self.zone), self.group_by)
        filtered = asked.filtered([each.condition for each in self.filters])
        return filtered.topped(self.top if self.group_by else 0).at(self.span.end, position)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    start, end = sorted(draw(st.lists(instants, min_size=2, max_size=2, unique=True)))
    keys = ("subject", "region", "tier")
    return Question(
        meter=draw(st.sampled_from(METERS)),
        span=Span(start, end),
        window=draw(st.sampled_from([each for each in Window if each is not Window.MINUTE])),
        zone=draw(st.sampled_from(["UTC", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Caracas"])),
        subjects=draw(st.sampled_from([(), ("ann",), ("ann", "cat", "nobody")])),
        group_by=tuple(draw(st.lists(st.sampled_from(keys), max_size=3, unique=True))),
        filters=tuple(draw(st.lists(st.sampled_from(FILTERS), max_size=2))),
        top=draw(st.sampled_from([0, 1, 2])),
        batches_known=draw(st.integers(1, 5)),
    )


# --- the plain model -------------------------------------------------------------------------------------------------


def chosen(question: Question, usage: Sequence[Event]) -> list[Event]:
    return [
        event
        for event in usage
        if event.type == "call"
        and event.at in question.span
        and (not question.subjects or event.subject in question.subjects)
        and all(each.is_met(event.properties.get(each.condition.property, "")) for each in question.filters)
    ]


def group_of(question: Question, event: Event) -> tuple[str, ...]:
    return tuple(event.subject if key == "subject" else event.properties.get(key, "") for key in question.group_by)


def plain_answer(question: Question, usage: Sequence[Event], windows: Sequence[Span]) -> list[UsageRow]:
    known = chosen(question, usage)
    if not question.group_by:
        return [UsageRow(span, (), plain_usage(question.meter, [e for e in known if e.at in span])) for span in windows]
    counted = [event for event in known if is_counted(question.meter, event)]
    groups = sorted({group_of(question, event) for event in counted})
    if question.top:
        groups = sorted(greatest(question, counted, groups))
    rows = []
    for span in windows:
        for group in groups:
            inside = [event for event in counted if event.at in span and group_of(question, event) == group]
            if inside:
                rows.append(UsageRow(span, group, plain_usage(question.meter, inside)))
    return rows


def greatest(question: Question, counted: Sequence[Event], groups: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    def quantity(group: tuple[str, ...]) -> Decimal:
        value = plain_usage(question.meter, [event for event in counted if group_of(question, event) == group])
        assert value is not None
        return Decimal(value)

    return sorted(groups, key=lambda group: (-quantity(group), group))[: question.top]


# --- the laws --------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(batches=batches_of_usage, asked=st.lists(questions(), min_size=1, max_size=4), cut=st.integers(1, 4))
def test_every_answer_is_the_one_of_a_plain_list(batches: list[list[Event]], asked: list[Question], cut: int) -> None:
    log = Log()
    log.create(list({question.meter.slug: question.meter for question in asked}.values()))
    positions = [log.record(batch, partition=str(number % 2)) for number, batch in enumerate(batches)]

    with folded(log, [cut]) as read_model:
        for question in asked:
            known = min(question.batches_known, len(batches))
            query = question.query(positions[known - 1])
            answer = full_answer(read_model.snapshot, query, Deadline.after(WAIT_S), 100_000)
            usage = [event for batch in batches[:known] for event in batch]
            assert answer.rows() == plain_answer(question, usage, query.windows)


@settings(max_examples=25, deadline=None)
@given(batches=batches_of_usage, question=questions(), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_parts_of_an_answer_join_to_the_whole(batches: list[list[Event]], question: Question, sizes: list[int]) -> None:
    log = Log()
    log.create([question.meter])
    positions = [log.record(batch) for batch in batches]

    with folded(log) as read_model:
        answer = full_answer(read_model.snapshot, question.query(positions[-1]), Deadline.after(WAIT_S), 100_000)
    joined: list[UsageRow] = []
    turn = 0
    while len(joined) < answer.row_count:
        size = sizes[turn % len(sizes)]
        part = answer.rows(len(joined), len(joined) + size)
        assert 1 <= len(part) <= size
        joined, turn = [*joined, *part], turn + 1
    assert joined == answer.rows()
