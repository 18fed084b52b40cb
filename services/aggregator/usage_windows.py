"""The projection "usage_windows": meters, and the usage of each, hour by hour."""

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from sqlalchemy import Connection, MetaData

from meterlog.events.v1.meter_pb2 import MeterCreated, UsagePeriodClosed
from services.aggregator.batch_rows import store_batches
from services.aggregator.counting import columns_counted
from services.aggregator.definition import Definition
from services.aggregator.meter import MeterEvent, definition_of
from services.aggregator.meter_rows import fold_meter, read_definitions
from services.aggregator.store_states import store_usage
from services.aggregator.subject_months import close_months
from services.aggregator.tables import UsageTables, usage_tables_in
from services.aggregator.touched import note_touched, touched_hours
from services.aggregator.usage_table import usage_tables
from services.eventstore.catalogue import decode
from services.eventstore.event import BEGINNING, Position, RecordedEvent
from services.eventstore.store import EventStore
from services.projection.intake import take_in
from services.projection.skipping import read_skipped

BACKFILL_EVENTS = 1_000
"""Log events that a backfill reads at once."""


class UsageWindows:
    """Counts usage events into hour states that merge, so that neither order nor batching changes a row.

    A meter counts all usage of the log: when its creation is folded, usage recorded earlier is read back from the log
    and counted in the same transaction.
    """

    name = "usage_windows"
    version = 1
    categories = frozenset({"usage", "meter", "period"})

    def __init__(self, store: EventStore) -> None:
        self._store = store

    def tables(self, metadata: MetaData, suffix: str) -> UsageTables:
        """Declare the tables of one generation."""
        return usage_tables_in(metadata, suffix)

    def fold(self, connection: Connection, tables: UsageTables, events: Sequence[RecordedEvent]) -> None:
        """Meters first, so that the usage of this call counts for all of them; then usage; then closed periods."""
        created = _fold_meters(connection, tables, _of_category(events, "meter"))
        if created:
            self._backfill(connection, tables, created, events[0].position)
        _fold_usage(connection, tables, _of_category(events, "usage"))
        _fold_closed(connection, tables, _of_category(events, "period"))

    def _backfill(
        self, connection: Connection, tables: UsageTables, meters: Sequence[Definition], until: Position
    ) -> None:
        """Count the usage recorded before `until` for new meters, all of them in one pass over the log."""
        for events in self._usage_before(until):
            for usage in usage_tables(events, columns_counted(meters)):
                store_usage(connection, tables, usage, meters)

    def _usage_before(self, until: Position) -> Iterator[Sequence[RecordedEvent]]:
        """What the live fold left out is left out here, too."""
        skipped = read_skipped(self._store, self.name)
        position, is_last = BEGINNING, False
        while position < until and not is_last:
            page = self._store.read_all(after=position, categories={"usage"}, limit=BACKFILL_EVENTS)
            yield take_in((event for event in page.events if event.position < until), skipped).foldable
            position, is_last = page.position, page.is_last


def _fold_meters(connection: Connection, tables: UsageTables, events: Iterable[RecordedEvent]) -> list[Definition]:
    """Bring the rows of meters up to date; returns the definitions of new ones."""
    created = []
    for recorded in events:
        event = cast(MeterEvent, decode(recorded))
        fold_meter(connection, tables, event)
        if isinstance(event, MeterCreated):
            created.append(definition_of(event))
    return created


def _fold_usage(connection: Connection, tables: UsageTables, events: Sequence[RecordedEvent]) -> None:
    meters = read_definitions(connection, tables)
    for usage in usage_tables(events, columns_counted(meters)):
        store_batches(connection, tables, usage, events)
        note_touched(connection, tables, touched_hours(usage), events[-1].position)
        store_usage(connection, tables, usage, meters)


def _fold_closed(connection: Connection, tables: UsageTables, events: Iterable[RecordedEvent]) -> None:
    close_months(connection, tables, [cast(UsagePeriodClosed, decode(recorded)) for recorded in events])


def _of_category(events: Sequence[RecordedEvent], category: str) -> list[RecordedEvent]:
    return [event for event in events if event.stream.category == category]
