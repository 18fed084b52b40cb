"""Which hours of which subjects the log has just said something new about: what periods are derived from."""

import pyarrow as pa
from sqlalchemy import Connection

from services.aggregator.tables import UsageTables
from services.eventstore.event import Position
from services.projection.upsert import raise_values


def touched_hours(usage: pa.Table) -> pa.Table:
    """The hours and subjects of a usage table.

    Columns: `hour_us`, `subject` (text), `usage_events` (how many), `position` (the last one that says something of
    them). Each pair comes once.
    """
    measures = [([], "count_all"), ("position", "max")]
    pairs = usage.group_by(["hour_us", "subject"]).aggregate(measures)
    return pa.table(
        {
            "hour_us": pairs["hour_us"],
            "subject": pairs["subject"].cast(pa.utf8()),
            "usage_events": pairs["count_all"],
            "position": pairs["position_max"],
        }
    )


def note_touched(connection: Connection, tables: UsageTables, touched: pa.Table, until: Position) -> None:
    """Keep which hours of which subjects were touched: their open periods will close, closed ones may be restated.

    `touched` has the columns `hour_us` and `subject`, each pair once, and may have `position`, where it was touched
    last. Without that, everything was touched at `until`: the position of the one event that did so, never the last one
    of what happens to be folded together, so that every cut of the log gives the same rows.
    """
    if not touched.num_rows:
        return
    if "position" not in touched.schema.names:
        touched = touched.append_column("position", pa.repeat(pa.scalar(until, pa.int64()), touched.num_rows))
    # In key order, which is how a database likes it.
    pairs = touched.select(["hour_us", "subject", "position"]).sort_by(
        [("hour_us", "ascending"), ("subject", "ascending")]
    )
    marks = tables.periods
    raise_values(
        connection, marks.subject_hours, list(zip(*(column.to_pylist() for column in pairs.columns), strict=True))
    )
    hours = pairs.group_by("hour_us").aggregate([("position", "max")])
    raise_values(
        connection,
        marks.touched_hours,
        list(zip(hours["hour_us"].to_pylist(), hours["position_max"].to_pylist(), strict=True)),
    )
