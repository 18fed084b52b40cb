"""Which hours of which subjects the log has just said something new about, and what follows for their periods."""

import pyarrow as pa
from sqlalchemy import Connection

from services.aggregator.late_usage import late_usage, warn_of
from services.aggregator.subject_months import open_months, subject_months
from services.aggregator.tables import UsageTables
from services.eventstore.event import Position


def touched_hours(usage: pa.Table) -> pa.Table:
    """The hours and subjects of a usage table: `hour_us`, `subject` (text), `usage_events` (how many)."""
    pairs = usage.group_by(["hour_us", "subject"]).aggregate([([], "count_all")])
    return pa.table(
        {
            "hour_us": pairs["hour_us"],
            "subject": pairs["subject"].cast(pa.utf8()),
            "usage_events": pairs["count_all"],
        }
    )


def note_touched(connection: Connection, tables: UsageTables, touched: pa.Table, until: Position) -> None:
    """Open the periods of hours that were touched by events up to `until`, and mark closed ones for restating."""
    months = subject_months(touched)
    warn_of(list(late_usage(connection, tables, months)), until)
    open_months(connection, tables, months)
