"""All hours from one on were touched: what a new or redefined meter means for periods."""

from sqlalchemy import Connection, update

from services.aggregator.tables import UsageTables
from services.eventstore.event import Position


def note_touched_since(connection: Connection, tables: UsageTables, since_us: int, position: Position) -> None:
    """Say of every hour and subject with usage from `since_us` on that the event at `position` touched it.

    As `note_touched` does, for whatever usage of earlier folds and of this one there is.
    """
    for table in (tables.periods.subject_hours, tables.periods.touched_hours):
        touched = update(table).where(table.c.hour_us >= since_us, table.c.position < position)
        connection.execute(touched.values(position=position))
