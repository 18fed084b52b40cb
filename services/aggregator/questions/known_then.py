"""What was known at an earlier position of the log: a meter as it was defined, and the instant."""

from datetime import datetime

from services.aggregator.meters.definition import Definition
from services.aggregator.meters.meter_rows import read_meter
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.usage.batch_rows import batches_before
from services.eventstore.event import BEGINNING, Position
from services.kernel.clock import from_epoch_us

EVENTS_READ = 16
"""Log events that are read at once on the way from the last usage batch to a position."""


def meter_as_of(source: UsageSnapshot, slug: str, as_of: Position | None) -> Definition:
    """What the meter said at `as_of` (None: says now); one that was created later, what it said first.

    Raises NotFound.
    """
    return read_meter(source.connection, source.tables, slug, as_of).definition


def instant_of(source: UsageSnapshot, position: Position) -> datetime:
    """When the last event up to `position` was recorded: the instant at which the log said what it says up to there."""
    before = batches_before(source.connection, source.tables, Position(position), 1)
    after = before[0].position if before else BEGINNING
    recorded_at = from_epoch_us(0)
    while after < position:
        page = source.store.read_all(after=after, limit=EVENTS_READ)
        for event in page.events:
            if event.position > position:
                return recorded_at
            recorded_at = event.recorded_at
        if page.is_last:
            return recorded_at
        after = page.position
    return recorded_at
