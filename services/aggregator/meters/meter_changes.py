"""What new and redefined meters ask of a fold: which of them must be counted anew, and from which hour on. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from meterlog.events.v1.meter_pb2 import MeterCreated, MeterRedefined
from services.aggregator.meters.definition import Definition
from services.aggregator.usage.archived_usage import EARLIEST_US
from services.eventstore.catalogue import decode
from services.eventstore.event import Position, RecordedEvent
from services.kernel.clock import epoch_us
from services.kernel.timestamp import from_timestamp


@dataclass(frozen=True, slots=True)
class MeterChange:
    """An event, at `position`, that makes a meter count otherwise from the hour `since_us` on."""

    slug: str
    since_us: int
    position: Position


def changes_of(events: Iterable[RecordedEvent]) -> list[MeterChange]:
    """What these events of meters change, in their order; names and archiving change nothing."""
    decoded = ((decode(recorded), recorded.position) for recorded in events)
    return [
        MeterChange(event.slug, _since_us(event), position)
        for event, position in decoded
        if isinstance(event, MeterCreated | MeterRedefined)
    ]


def to_recount(changes: Iterable[MeterChange], meters: Sequence[Definition]) -> dict[int, list[Definition]]:
    """The meters to count anew, of `meters` as they stand after the changes, by the hour from which on."""
    since: dict[str, int] = {}
    for change in changes:
        since[change.slug] = min(since.get(change.slug, change.since_us), change.since_us)
    together: dict[int, list[Definition]] = {}
    for meter in meters:
        if meter.slug in since:
            together.setdefault(since[meter.slug], []).append(meter)
    return together


def last_said(changes: Sequence[MeterChange]) -> list[MeterChange]:
    """The changes but for those that a later one covers: what was touched last, and when."""
    kept: list[MeterChange] = []
    for change in reversed(changes):
        if all(later.since_us > change.since_us for later in kept):
            kept.append(change)
    return kept


def _since_us(event: MeterCreated | MeterRedefined) -> int:
    if isinstance(event, MeterRedefined) and event.HasField("effective_from"):
        return epoch_us(from_timestamp(event.effective_from))
    return EARLIEST_US
