"""The law of the shadow recompute: it and the live fold agree on every log, and one unit more is one difference."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from meterlog.events.v1 import correction_pb2 as said
from meterlog.events.v1.meter_pb2 import MeterCreated, MeterRedefined, UsageCondition
from services.aggregator.check.facts import FactReader
from services.aggregator.check.held import held_states
from services.aggregator.check.plain_usage import Wanted
from services.aggregator.check.recount import Recount
from services.aggregator.check.usage_check import Findings
from services.eventstore.catalogue import encode
from services.eventstore.event import BEGINNING, NO_STREAM, Position, StreamName
from services.eventstore.usage_batch import encode_usage, usage_batch_of
from services.kernel.clock import epoch_us
from services.kernel.quantity import add, decimal_text
from services.kernel.timestamp import to_timestamp
from tests.aggregator_room import NOW, Folded, Log, folded

HOUR = datetime(2024, 3, 31, 22, tzinfo=UTC)
DECISION = said.Decision(reason="a test", decided_at=to_timestamp(NOW))
CONDITIONS = (
    UsageCondition(property="region", operator="equals", values=["eu"]),
    UsageCondition(property="region", operator="not_equals", values=["eu"]),
    UsageCondition(property="size", operator="greater", values=["2"]),
    UsageCondition(property="$value", operator="less_or_equal", values=["2.0"]),
    UsageCondition(property="$source", operator="prefix", values=["te"]),
    UsageCondition(property="region", operator="not_exists"),
)
VALUES = st.sampled_from(["1", "2", "-3", "0.000000000001", "12345678901234567890123456.5"])
PROPERTIES = st.fixed_dictionaries(
    {}, optional={"region": st.sampled_from(["eu", "us", ""]), "size": st.sampled_from(["1", "2.5", "x", "70"])}
)
WINDOWS = frozenset({"usage", "meter", "period", "correction", "backfill"})

# --- logs to try -----------------------------------------------------------------------------------------------------


@dataclass
class Told:
    """A log that is written step by step, with what can be corrected in it."""

    log: Log = field(default_factory=Log)
    places: list[tuple[int, int, datetime, str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    backfills: list[str] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)

    @property
    def head(self) -> Position:
        return self.log.store.head().position

    def say(self, category: str, name: str, message: Message) -> None:
        stream = f"{category}-{name}"
        version = self.versions.get(stream, NO_STREAM)
        event = encode(message, StreamName(category, name), version + 1, NOW)
        self.log.store.append(StreamName(category, name), [event], version)
        self.versions[stream] = version + 1

    def record(self, sources: list[str], usage: list[tuple[datetime, str, str, dict[str, str]]]) -> None:
        version = self.versions.get("usage-0", NO_STREAM) + 1
        batch = usage_batch_of(
            sources,
            ["call"] * len(usage),
            [subject for _, subject, _, _ in usage],
            [f"{version}-{row}" for row in range(len(usage))],
            [epoch_us(at) for at, *_ in usage],
            [Decimal(value) for _, _, value, _ in usage],
            [properties for *_, properties in usage],
        )
        self.say("usage", "0", encode_usage(batch))
        self.places += [(self.head, row, at, subject) for row, (at, subject, _, _) in enumerate(usage)]


def name_of(place: tuple[int, int, datetime, str]) -> said.RecordedUsage:
    position, row, at, subject = place
    return said.RecordedUsage(position=position, row=row, time=to_timestamp(at), subject=subject)


@st.composite
def meters(draw: st.DrawFn, slug: str, aggregation: str) -> MeterCreated:
    value = draw(st.sampled_from(["", "property", "expression"])) if aggregation != "count" else ""
    return MeterCreated(
        slug=slug,
        event_type="call",
        aggregation=aggregation,
        group_by=["region"],
        value_property="size" if value == "property" else "",
        value_expression=draw(st.sampled_from(["value * 2 - size / 3", "max(value, `size`, 2)"]))
        if value == "expression"
        else "",
        filters=draw(st.lists(st.sampled_from(CONDITIONS), max_size=2)),
        created_at=to_timestamp(NOW),
    )


AGGREGATIONS = ("count", "sum", "min", "max", "avg", "first", "last", "unique_count", "weighted_sum")
filters = st.builds(
    said.UsageFilter,
    subjects=st.sampled_from([[], ["ann"]]),
    sources=st.sampled_from([[], ["test"]]),
    conditions=st.lists(st.sampled_from(CONDITIONS), max_size=1),
    start_at=st.sampled_from([None, to_timestamp(HOUR + timedelta(minutes=30))]),
    end_at=st.sampled_from([None, to_timestamp(HOUR + timedelta(hours=2))]),
)
usage_events = st.tuples(
    st.integers(0, 240).map(lambda minutes: HOUR + timedelta(minutes=minutes)),
    st.sampled_from(["ann", "bob"]),
    VALUES,
    PROPERTIES,
)


@st.composite
def logs(draw: st.DrawFn) -> Told:
    told = Told()
    for slug in AGGREGATIONS[:: draw(st.sampled_from([1, 2, 3]))]:
        told.say("meter", slug, draw(meters(slug, slug)))
    steps = draw(st.lists(st.sampled_from(sorted(STEPS)), min_size=2, max_size=10))
    for number, step in enumerate(["usage", *steps]):
        STEPS[step](draw, told, f"k{number}")
    return told


def record(draw: st.DrawFn, told: Told, _key: str) -> None:
    usage = draw(st.lists(usage_events, min_size=1, max_size=6))
    sources = ["test", *(f"backfill/{key}/import" for key in [*told.backfills, "unknown"])]
    told.record([draw(st.sampled_from(sources)) for _ in usage], usage)


def cancel_by_name(draw: st.DrawFn, told: Told, key: str) -> None:
    named = [name_of(place) for place in draw(st.lists(st.sampled_from(told.places), min_size=1, max_size=3))]
    times = sorted(each.time.ToDatetime() for each in named)
    cancelled = said.UsageCancelled(key=key, usage_events=named, until_position=told.head, decision=DECISION)
    cancelled.first_at.FromDatetime(times[0])
    cancelled.last_at.FromDatetime(times[-1])
    told.say("correction", key, cancelled)
    told.keys.append(key)


def cancel_by_filter(draw: st.DrawFn, told: Told, key: str) -> None:
    until = draw(st.sampled_from(sorted({position for position, *_ in told.places})))
    cancelled = said.UsageCancelled(key=key, filter=draw(filters), until_position=until, decision=DECISION)
    cancelled.first_at.CopyFrom(to_timestamp(HOUR))
    cancelled.last_at.CopyFrom(to_timestamp(HOUR + timedelta(hours=5)))
    told.say("correction", key, cancelled)
    told.keys.append(key)


def amend(draw: st.DrawFn, told: Told, key: str) -> None:
    amended = said.UsageAmended(key=key, usage_event=name_of(draw(st.sampled_from(told.places))), decision=DECISION)
    if draw(st.booleans()):
        amended.properties.CopyFrom(said.AmendedProperties(properties=draw(PROPERTIES)))
    if not amended.HasField("properties") or draw(st.booleans()):
        amended.value = draw(VALUES)
    told.say("correction", key, amended)
    told.keys.append(key)


def revert(draw: st.DrawFn, told: Told, _key: str) -> None:
    if told.keys:
        key = told.keys.pop(draw(st.integers(0, len(told.keys) - 1)))
        told.say("correction", key, said.CorrectionReverted(key=key, decision=DECISION))


def open_backfill(draw: st.DrawFn, told: Told, key: str) -> None:
    opened = said.BackfillOpened(key=key, replaces_existing=draw(st.booleans()), decision=DECISION)
    opened.start_at.CopyFrom(to_timestamp(HOUR))
    opened.end_at.CopyFrom(to_timestamp(HOUR + timedelta(hours=2)))
    told.say("backfill", key, opened)
    told.backfills.append(key)


def close_backfill(draw: st.DrawFn, told: Told, _key: str) -> None:
    waiting = [key for key in told.backfills if told.versions[f"backfill-{key}"] == 0]
    if waiting:
        key = draw(st.sampled_from(waiting))
        told.say("backfill", key, said.BackfillClosed(key=key, until_position=told.head, decision=DECISION))


def revert_backfill(draw: st.DrawFn, told: Told, _key: str) -> None:
    if told.backfills:
        key = told.backfills.pop(draw(st.integers(0, len(told.backfills) - 1)))
        told.say("backfill", key, said.BackfillReverted(key=key, decision=DECISION))


def redefine(draw: st.DrawFn, told: Told, _key: str) -> None:
    known = sorted(key.partition("-")[2] for key in told.versions if key.startswith("meter-"))
    slug = draw(st.sampled_from(known))
    version = told.versions[f"meter-{slug}"] + 2
    redefined = MeterRedefined(slug=slug, version=version, definition=draw(meters(slug, slug)))
    if draw(st.booleans()):
        redefined.effective_from.CopyFrom(to_timestamp(HOUR + timedelta(hours=draw(st.integers(0, 4)))))
        if slug != "weighted_sum":
            redefined.definition.group_by.append("tier")
    else:
        redefined.definition.ClearField("group_by")
    told.say("meter", slug, redefined)


STEPS: dict[str, Any] = {
    "usage": record,
    "usage again": record,
    "cancel by name": cancel_by_name,
    "cancel by filter": cancel_by_filter,
    "amend": amend,
    "revert": revert,
    "open backfill": open_backfill,
    "close backfill": close_backfill,
    "revert backfill": revert_backfill,
    "redefine": redefine,
}


# --- the law ---------------------------------------------------------------------------------------------------------


def findings(read_model: Folded, log: Log) -> Findings:
    """What a check of everything finds in tables that were folded up to the end of the log."""
    facts = FactReader(log.store, "usage_windows").at(log.store.head().position)
    recount, found = Recount(facts, facts.meters.values()), Findings()
    for event in log.store.read_all(after=BEGINNING, categories={"usage"}, limit=1_000).events:
        recount.add(event, Wanted())
    for meter in facts.meters.values():
        source = read_model.snapshot
        held = held_states(source.connection, source.tables, meter, (-(2**62), 2**62))
        found.compare(held, recount.states(meter), tuple(meter.newest.group_by))
    return found


@settings(max_examples=80, deadline=None)
@given(told=logs(), cuts=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_the_fold_and_the_recount_agree_on_every_log(told: Told, cuts: list[int]) -> None:
    with folded(told.log, cuts) as read_model:
        assert findings(read_model, told.log).differences == []


@settings(max_examples=15, deadline=None)
@given(told=logs())
def test_one_unit_more_is_one_difference(told: Told) -> None:
    with folded(told.log) as read_model:
        connection, amounts = read_model.snapshot.connection, read_model.snapshot.tables.amounts
        summed = select(amounts).where(amounts.c.meter == "sum", amounts.c.number.is_not(None)).limit(1)
        row = connection.execute(summed).one_or_none()
        if row is None:
            return
        one_more = update(amounts).where(
            *(amounts.c[key] == row._mapping[key] for key in ("meter", "hour_us", "subject"))
        )
        first, *others = row.number.split("\n")
        raised = decimal_text(add(Decimal(first), Decimal("0.000000000001")))
        connection.execute(one_more.values(number="\n".join((raised, *others))))
        (difference,) = findings(read_model, told.log).differences
    assert (difference.key.meter, difference.key.subject, difference.key.hour_us) == ("sum", row.subject, row.hour_us)


def test_a_cancellation_does_not_hit_what_a_backfill_held_back_then() -> None:
    told = Told()
    told.say(
        "meter", "sum", MeterCreated(slug="sum", event_type="call", aggregation="sum", created_at=to_timestamp(NOW))
    )
    told.say("backfill", "b", said.BackfillOpened(key="b", decision=DECISION))
    told.record(["backfill/b/import", "test"], [(HOUR, "ann", "5", {}), (HOUR, "ann", "7", {})])
    cancelled = said.UsageCancelled(key="c", filter=said.UsageFilter(), until_position=told.head, decision=DECISION)
    told.say("correction", "c", cancelled)
    told.say("backfill", "b", said.BackfillClosed(key="b", until_position=told.head, decision=DECISION))

    with folded(told.log, [1]) as live, folded(told.log) as rebuilt:
        for read_model in (live, rebuilt):
            assert findings(read_model, told.log).differences == []
            amounts = read_model.snapshot.tables.amounts
            assert read_model.snapshot.connection.execute(select(amounts.c.number)).scalars().all() == ["5"]
