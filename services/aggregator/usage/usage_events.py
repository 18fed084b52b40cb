"""Recorded usage events, one by one: by source and id, or listed in the order of the log."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.corrections.acting import force_over
from services.aggregator.corrections.standing import Standing, StandingUsage, standings
from services.aggregator.deadline import Deadline
from services.aggregator.meters.conditions import Condition, condition_columns, meets_all
from services.aggregator.meters.definition import Definition
from services.aggregator.meters.versions import reigns
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.usage.batch_rows import BatchPlace, batches_before, batches_behind
from services.aggregator.usage.usage_log import READ_EVENTS, read_batches
from services.aggregator.usage.usage_table import whole_table
from services.eventstore.event import RecordedEvent
from services.eventstore.usage_batch import TEXT
from services.kernel.errors import NotFound

SCANNED_BATCHES_MAX = 1_000
SCANNED_USAGE_EVENTS_MAX = 200_000
"""Batches, and usage events give or take one batch, that one page of a list looks into.

A page that finds little in them is short and has a next one.
"""

SCANNING_SHARE = 0.75
"""Of the time that a call has, the part after which its page ends where it is, so that its caller can go on there."""

BEFORE_ALL = (0, -1)
"""The place behind which a list begins."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which usage events to list, by what they say now; empty texts and tuples, and None, choose all."""

    subject: str = ""
    type: str = ""
    start_us: int | None = None
    end_us: int | None = None
    source: str = ""
    meter: Definition | None = None
    conditions: tuple[Condition, ...] = ()
    standing: Standing | None = None
    recorded_from: datetime | None = None
    recorded_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class UsagePage:
    """Usage events by position and row; `next` is the place to go on behind, None when this is the end."""

    events: tuple[StandingUsage, ...]
    next: tuple[int, int] | None


def find_usage(source: UsageSnapshot, usage_source: str, usage_id: str, deadline: Deadline) -> StandingUsage:
    """The usage event of that source and id, looked for from the newest batch backwards; raises NotFound."""
    for places in _backwards(source):
        deadline.require()
        for events in read_batches(source.store, places):
            for event in events:
                usage = whole_table(event)
                found = usage.filter(_is_known_as(usage, usage_source, usage_id))
                if found.num_rows:
                    return next(_standing_in(source, event, found, Choice()))
    raise NotFound(
        f'no usage event "{usage_id[:64]}" of source "{usage_source[:64]}" was recorded; check both',
        reason="USAGE_EVENT_NOT_FOUND",
    )


def list_usage(
    source: UsageSnapshot, choice: Choice, behind: tuple[int, int], limit: int, deadline: Deadline
) -> UsagePage:
    """Up to `limit` usage events behind a place (position, row), in the order of the log.

    A page ends early, with a place to go on behind, when it has looked at much, or for most of the time. Raises
    TimedOut when there was no time to look into one batch.
    """
    long_enough = Deadline.after(deadline.left_s() * SCANNING_SHARE)
    places = batches_behind(
        source.connection,
        source.tables,
        behind[0],
        behind[1],
        SCANNED_BATCHES_MAX,
        start_us=choice.start_us,
        end_us=choice.end_us,
    )
    scanned = _first_of(places)
    found: list[StandingUsage] = []
    for place, event in zip(scanned, _in_order(source, scanned), strict=True):
        deadline.require()
        for standing in _chosen_in(source, event, choice, behind):
            found.append(standing)
            if len(found) == limit:
                return UsagePage(tuple(found), (standing.position, standing.row))
        if not long_enough.left_s():
            return UsagePage(tuple(found), _end_of(place))
    is_last = len(scanned) == len(places) < SCANNED_BATCHES_MAX
    return UsagePage(tuple(found), None if is_last else _end_of(scanned[-1]))


def _first_of(places: list[BatchPlace]) -> list[BatchPlace]:
    """Those that one page looks into, at least one."""
    counted = accumulate(place.usage_event_count for place in places)
    return [
        place
        for place, count in zip(places, counted, strict=True)
        if count - place.usage_event_count < SCANNED_USAGE_EVENTS_MAX
    ]


def _end_of(place: BatchPlace) -> tuple[int, int]:
    return place.position, place.usage_event_count


def _backwards(source: UsageSnapshot) -> Iterator[list[BatchPlace]]:
    before: int | None = None
    while places := batches_before(source.connection, source.tables, before, READ_EVENTS):
        yield places
        before = places[-1].position


def _in_order(source: UsageSnapshot, places: list[BatchPlace]) -> Iterator[RecordedEvent]:
    for start in range(0, len(places), READ_EVENTS):
        runs = read_batches(source.store, places[start : start + READ_EVENTS])
        yield from sorted((event for run in runs for event in run), key=lambda event: event.position)


def _chosen_in(
    source: UsageSnapshot, event: RecordedEvent, choice: Choice, behind: tuple[int, int]
) -> Iterator[StandingUsage]:
    """What is chosen of one batch: first by what no correction changes, because that is most of the work."""
    is_too_early = choice.recorded_from is not None and event.recorded_at < choice.recorded_from
    is_too_late = choice.recorded_until is not None and event.recorded_at >= choice.recorded_until
    if is_too_early or is_too_late:
        return
    usage = whole_table(event)
    if event.position == behind[0]:
        usage = usage.slice(behind[1] + 1)
    usage = usage.filter(_is_asked(usage, choice))
    if usage.num_rows:
        yield from _standing_in(source, event, usage, choice)


def _standing_in(
    source: UsageSnapshot, event: RecordedEvent, usage: pa.Table, choice: Choice
) -> Iterator[StandingUsage]:
    times = pc.min_max(usage["at_us"]).as_py()
    force = force_over(source.connection, source.tables.corrections, source.position, times["min"], times["max"] + 1)
    recorded_at = event.recorded_at
    return standings(usage, force, recorded_at, lambda said: _is_met(said, choice), choice.standing)


def _is_known_as(usage: pa.Table, source: str, usage_id: str) -> pa.Array:
    return pc.and_(pc.equal(usage["id"], usage_id), pc.equal(usage["source"].cast(pa.utf8()), source))


def _is_asked(usage: pa.Table, choice: Choice) -> pa.Array:
    is_asked = pa.repeat(True, usage.num_rows)
    for name, text in (("subject", choice.subject), ("type", choice.type), ("source", choice.source)):
        if text:
            column = usage[name].combine_chunks()
            is_asked = pc.and_(is_asked, pc.equal(column.dictionary, text).take(column.indices))
    if choice.start_us is not None:
        is_asked = pc.and_(is_asked, pc.greater_equal(usage["at_us"].combine_chunks(), choice.start_us))
    if choice.end_us is not None:
        is_asked = pc.and_(is_asked, pc.less(usage["at_us"].combine_chunks(), choice.end_us))
    return is_asked


def _is_met(said: pa.Table, choice: Choice) -> pa.Array:
    """Whether usage events meet the conditions, and those of the meter, by what they say now."""
    is_met = _meets(said, choice.conditions)
    return is_met if choice.meter is None else pc.and_(is_met, _is_counted_by(said, choice.meter))


def _is_counted_by(said: pa.Table, meter: Definition) -> pa.Array:
    times, types = said["at_us"].combine_chunks(), said["type"].combine_chunks()
    is_counted = pa.repeat(False, said.num_rows)
    for reign in reigns(meter):
        is_in = pc.equal(types.dictionary, reign.definition.event_type).take(types.indices)
        if reign.start_us is not None:
            is_in = pc.and_(is_in, pc.greater_equal(times, reign.start_us))
        if reign.end_us is not None:
            is_in = pc.and_(is_in, pc.less(times, reign.end_us))
        is_counted = pc.or_(is_counted, pc.and_(is_in, _meets(said, reign.definition.filters)))
    return is_counted


def _meets(said: pa.Table, conditions: tuple[Condition, ...]) -> pa.Array:
    for name in condition_columns(conditions).difference(said.schema.names):
        said = said.append_column(name, pa.nulls(said.num_rows, TEXT))
    return meets_all(said, conditions)
