"""Laws of corrections: whatever is said about usage, in any order, every reading agrees with a plain one over lists."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.definition import Definition
from services.aggregator.usage.archived_usage import EARLIEST_US, LATEST_US
from services.aggregator.usage.usage_reading import Extent, read_usage
from services.eventstore.event import Position
from services.kernel.clock import epoch_us
from tests.aggregator_room import Folded, folded
from tests.corrected_history import HOUR, History
from tests.plain_corrections import (
    Wanted,
    usage_that_counts,
)
from tests.plain_usage import Event, is_counted, plain_usage

BACKFILLS = ("b1", "b2")
WITH_HOURS = [name for name in AggregationName if name not in ("weighted_sum", "percentile")]
METERS = tuple(
    Definition(str(name), "", "call", name, "size" if number % 2 else "", ("region",), "")
    for number, name in enumerate(WITH_HOURS)
)


# --- what is tried ---------------------------------------------------------------------------------------------------

values = st.integers(-3, 9).map(Decimal)
properties = st.fixed_dictionaries(
    {}, optional={"size": st.sampled_from(["1", "2.5", "x", ""]), "region": st.sampled_from(["eu", "us"])}
)
instants = st.integers(0, 8).map(lambda quarters: HOUR + timedelta(minutes=15 * quarters))
usage_events = st.builds(
    Event, st.sampled_from(["call", "call", "other"]), st.sampled_from(["ann", "bob"]), instants, values, properties
)
wanted = st.builds(
    Wanted,
    subject=st.sampled_from([None, "ann"]),
    type=st.sampled_from([None, "call"]),
    start=st.sampled_from([None, HOUR, HOUR + timedelta(minutes=30)]),
    end=st.sampled_from([None, HOUR + timedelta(hours=1)]),
    region=st.sampled_from([None, "eu"]),
    below=st.sampled_from([None, 4]),
)
picks = st.integers(0, 1_000)
steps = st.one_of(
    st.tuples(
        st.just("record"),
        st.lists(usage_events, min_size=1, max_size=4),
        st.sampled_from(["test", "test", "backfill/b1/x", "backfill/b2/x", "backfill/nobody/x", "backfill/x"]),
        st.sampled_from(["0", "1"]),
    ),
    st.tuples(st.just("cancel_named"), st.lists(picks, min_size=1, max_size=2)),
    st.tuples(st.just("cancel_by_filter"), wanted, picks),
    st.tuples(st.just("amend"), picks, st.one_of(st.none(), values), st.one_of(st.none(), properties)),
    st.tuples(st.just("revert"), picks),
    st.tuples(st.just("move_backfill"), st.sampled_from(BACKFILLS), st.one_of(st.none(), wanted)),
)


def played(moves: Sequence[tuple[Any, ...]], meters_at: int) -> History:
    """The history of these moves; those that need what is not there yet are left out."""
    history = History()
    for number, (name, *arguments) in enumerate(moves):
        if number == meters_at:
            history.log.create(METERS)
        needs_usage = name in ("cancel_named", "amend") and not history.recorded
        needs_log = name == "cancel_by_filter" and not history.head
        if not (needs_usage or needs_log or (name == "revert" and not history.keys)):
            getattr(history, name)(*arguments)
    if meters_at >= len(moves):
        history.log.create(METERS)
    return history


CALL = Event("call", "ann", HOUR, Decimal(1), {"region": "eu", "size": "1"})
HELD_WHILE_CANCELLED = [
    ("record", [CALL], "backfill/b1/x", "0"),
    ("move_backfill", "b1", None),
    ("cancel_by_filter", Wanted(), 1),
    ("move_backfill", "b1", None),
]
AMENDED_AFTER_THE_PREVIEW = [
    ("record", [CALL], "test", "0"),
    ("amend", 0, None, {"region": "us"}),
    ("cancel_by_filter", Wanted(region="eu"), 0),
]
REPLACED_AND_TAKEN_BACK = [
    ("record", [CALL], "test", "0"),
    ("move_backfill", "b1", Wanted()),
    ("record", [CALL], "backfill/b1/x", "1"),
    ("move_backfill", "b1", None),
    ("record", [CALL], "backfill/b1/x", "1"),
    ("amend", 1, Decimal(7), None),
    ("move_backfill", "b1", None),
]
AMENDED_CANCELLED_REVERTED = [
    ("record", [CALL, CALL], "test", "0"),
    ("amend", 0, Decimal(5), {"region": "us"}),
    ("cancel_named", [0]),
    ("revert", 0),
    ("revert", 1),
]


# --- the laws --------------------------------------------------------------------------------------------------------


def say_the_same(read_model: Folded, history: History) -> None:
    counted = usage_that_counts(history.recorded, history.said, history.head)
    for meter in METERS:
        groups: dict[tuple[str, str], list[Event]] = {}
        for event in filter(lambda event: is_counted(meter, event), counted):
            groups.setdefault((event.subject, event.properties.get("region", "")), []).append(event)
        expected = [(group, plain_usage(meter, groups[group])) for group in sorted(groups)]
        rows = read_model.usage(meter, ("subject", "region"))
        assert [(row.group, row.value) for row in rows] == expected, meter.slug


@settings(max_examples=25, deadline=None)
@example(HELD_WHILE_CANCELLED, 14, [1])
@example(HELD_WHILE_CANCELLED, 0, [1])
@example(AMENDED_AFTER_THE_PREVIEW, 14, [1])
@example(REPLACED_AND_TAKEN_BACK, 0, [3, 1])
@example(AMENDED_CANCELLED_REVERTED, 0, [1])
@given(
    moves=st.lists(steps, min_size=2, max_size=14),
    meters_at=st.integers(0, 14),
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=4),
)
def test_corrected_usage_is_what_plain_python_says_and_every_cut_of_the_log_gives_the_same_rows(
    moves: list[tuple[Any, ...]], meters_at: int, cuts: list[int]
) -> None:
    """Balances that were kept and then reused wrongly: openmeter #4846 and #4845."""
    history = played(moves, meters_at)

    with folded(history.log, cuts) as live, folded(history.log, [1_000]) as rebuilt, folded(history.log, [1]) as slow:
        say_the_same(live, history)
        assert live.digest() == rebuilt.digest() == slow.digest()


@settings(max_examples=15, deadline=None)
@example(HELD_WHILE_CANCELLED)
@example(REPLACED_AND_TAKEN_BACK)
@example(AMENDED_CANCELLED_REVERTED)
@given(moves=st.lists(steps, min_size=2, max_size=14))
def test_raw_usage_at_every_position_is_what_the_log_said_up_to_there(moves: list[tuple[Any, ...]]) -> None:
    history = played(moves, 0)
    extent = Extent(EARLIEST_US, LATEST_US)

    with folded(history.log) as read_model:
        for at in range(1, history.head + 1):
            parts = read_usage(read_model.snapshot, extent, ["subject", "value", "p.region", "p.size"], Position(at))
            found = [
                (
                    row["position"],
                    row["row"],
                    row["at_us"],
                    row["subject"],
                    row["value"],
                    row["p.region"],
                    row["p.size"],
                )
                for part in parts
                for row in part.to_pylist()
            ]
            expected = [
                (
                    epoch_us(event.at),
                    event.subject,
                    event.value,
                    *(event.properties.get(key) for key in ("region", "size")),
                )
                for event in usage_that_counts(history.recorded, history.said, at)
            ]
            assert [row[2:] for row in sorted(found)] == expected
