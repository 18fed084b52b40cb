"""What chooses usage events for a correction: type, subject, source, times and conditions. Pure."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.events.v1 import correction_pb2 as stored
from services.aggregator.meters.conditions import Condition, condition_columns, meets_all
from services.aggregator.meters.stored_conditions import condition_event, conditions_of
from services.aggregator.usage.usage_table import RECORDED_AT
from services.kernel.clock import epoch_us, from_epoch_us
from services.kernel.timestamp import from_timestamp, to_timestamp


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """A usage event is chosen when all that is said holds for it; empty tuples and None choose all.

    Times are half-open, in microseconds since 1970. `meter` is the slug that types and conditions were taken from.
    """

    meter: str = ""
    types: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    start_us: int | None = None
    end_us: int | None = None
    recorded_from_us: int | None = None
    recorded_until_us: int | None = None
    conditions: tuple[Condition, ...] = ()

    @property
    def is_by_recording(self) -> bool:
        """Whether it looks at when usage was recorded."""
        return self.recorded_from_us is not None or self.recorded_until_us is not None

    @property
    def columns(self) -> set[str]:
        """The columns of a usage table that it looks at, beside those that every table has."""
        texts = {"type": self.types, "subject": self.subjects, "source": self.sources}
        times = {RECORDED_AT} if self.is_by_recording else set()
        return {name for name, wanted in texts.items() if wanted} | times | condition_columns(self.conditions)

    def may_choose(self, start_us: int, end_us: int, subjects: tuple[str, ...], types: tuple[str, ...]) -> bool:
        """Whether usage of that time, of these subjects and types (none given: all), can be chosen at all."""
        return (
            (self.end_us is None or self.end_us > start_us)
            and (self.start_us is None or self.start_us < end_us)
            and _may_meet(self.subjects, subjects)
            and _may_meet(self.types, types)
        )


def is_chosen(usage: pa.Table, chooser: UsageFilter) -> pa.Array:
    """Whether the filter chooses each usage event, by what the table says of it; never null."""
    chosen = meets_all(usage, chooser.conditions)
    for name, texts in (("type", chooser.types), ("subject", chooser.subjects), ("source", chooser.sources)):
        if texts:
            column = usage[name].combine_chunks()
            wanted = pc.is_in(column.dictionary, pa.array(texts, pa.utf8()))
            chosen = pc.and_(chosen, wanted.take(column.indices))
    chosen = _within(chosen, usage, "at_us", chooser.start_us, chooser.end_us)
    return _within(chosen, usage, RECORDED_AT, chooser.recorded_from_us, chooser.recorded_until_us)


def filter_of(message: stored.UsageFilter) -> UsageFilter:
    """The filter that a stored event says."""
    return UsageFilter(
        meter=message.meter,
        types=tuple(message.types),
        subjects=tuple(message.subjects),
        sources=tuple(message.sources),
        start_us=_us(message, "start_at"),
        end_us=_us(message, "end_at"),
        recorded_from_us=_us(message, "recorded_from"),
        recorded_until_us=_us(message, "recorded_until"),
        conditions=conditions_of(message.conditions),
    )


def filter_message(chooser: UsageFilter) -> stored.UsageFilter:
    """The form of a filter in stored events."""
    return stored.UsageFilter(
        meter=chooser.meter,
        types=chooser.types,
        subjects=chooser.subjects,
        sources=chooser.sources,
        start_at=_timestamp(chooser.start_us),
        end_at=_timestamp(chooser.end_us),
        recorded_from=_timestamp(chooser.recorded_from_us),
        recorded_until=_timestamp(chooser.recorded_until_us),
        conditions=map(condition_event, chooser.conditions),
    )


def _within(chosen: pa.Array, usage: pa.Table, name: str, start_us: int | None, end_us: int | None) -> pa.Array:
    if start_us is not None:
        chosen = pc.and_(chosen, pc.greater_equal(usage[name].combine_chunks(), start_us))
    if end_us is not None:
        chosen = pc.and_(chosen, pc.less(usage[name].combine_chunks(), end_us))
    return chosen


def _may_meet(wanted: tuple[str, ...], asked: tuple[str, ...]) -> bool:
    return not wanted or not asked or not set(wanted).isdisjoint(asked)


def _us(message: stored.UsageFilter, name: str) -> int | None:
    return epoch_us(from_timestamp(getattr(message, name))) if message.HasField(name) else None  # type: ignore[arg-type]  # one of the four above


def _timestamp(instant_us: int | None) -> Timestamp | None:
    return None if instant_us is None else to_timestamp(from_epoch_us(instant_us))
