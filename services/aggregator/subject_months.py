"""Which calendar months (UTC) of which subjects have usage, and which of them are still open, in SQL."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
from sqlalchemy import Connection, select

from meterlog.events.v1.meter_pb2 import UsagePeriodClosed
from services.aggregator.period import MONTH
from services.aggregator.tables import UsageTables
from services.kernel.calendar import month_of
from services.kernel.clock import epoch_us, from_epoch_us
from services.kernel.timestamp import from_timestamp
from services.projection.upsert import insert_missing, upsert

UTC_ZONE = ZoneInfo("UTC")

VALUES_MAX = 1_000
"""Values in one IN list."""


def subject_months(touched: pa.Table) -> pa.Table:
    """The months of touched hours: `start_us`, `subject`, and how many `usage_events` each pair has."""
    hours = touched["hour_us"].combine_chunks().dictionary_encode()
    starts = pa.array(map(_month_start_us, hours.dictionary.to_pylist()), pa.int64()).take(hours.indices)
    months = pa.table({"start_us": starts, "subject": touched["subject"], "usage_events": touched["usage_events"]})
    summed = months.group_by(["start_us", "subject"]).aggregate([("usage_events", "sum")])
    return summed.rename_columns(["start_us", "subject", "usage_events"])


def open_months(connection: Connection, tables: UsageTables, months: pa.Table) -> None:
    """List the months of a table of `subject_months`; one that is closed stays closed."""
    rows = zip(months["start_us"].to_pylist(), months["subject"].to_pylist(), strict=True)
    insert_missing(connection, tables.subject_months, [(start_us, subject, 0) for start_us, subject in rows])


def close_months(connection: Connection, tables: UsageTables, closed: Iterable[UsagePeriodClosed]) -> None:
    """Mark the months that these events close."""
    rows = [(epoch_us(from_timestamp(event.start_at)), event.subject, 1) for event in closed if event.period == MONTH]
    upsert(connection, tables.subject_months, rows)


def earliest_open_month(connection: Connection, tables: UsageTables) -> int | None:
    """The start of the earliest month that is open for any subject."""
    months = tables.subject_months
    chosen = select(months.c.start_us).where(months.c.is_closed == 0).order_by(months.c.start_us).limit(1)
    return connection.execute(chosen).scalar_one_or_none()


def open_subjects(connection: Connection, tables: UsageTables, start: datetime, limit: int) -> list[str]:
    """Up to `limit` subjects whose month from `start` on is open, in order."""
    months = tables.subject_months
    chosen = select(months.c.subject).where(months.c.is_closed == 0, months.c.start_us == epoch_us(start))
    return list(connection.execute(chosen.order_by(months.c.subject).limit(limit)).scalars())


def closed_subjects(connection: Connection, tables: UsageTables, start_us: int, among: Sequence[str]) -> list[str]:
    """Which of these subjects have their month from `start_us` on closed; one look where nobody has."""
    months = tables.subject_months.c
    closed = select(months.subject).where(months.is_closed == 1, months.start_us == start_us)
    if connection.execute(closed.limit(1)).first() is None:
        return []
    parts = (among[first : first + VALUES_MAX] for first in range(0, len(among), VALUES_MAX))
    return [
        subject for part in parts for subject in connection.execute(closed.where(months.subject.in_(part))).scalars()
    ]


def _month_start_us(hour_us: int) -> int:
    return epoch_us(month_of(from_epoch_us(hour_us), UTC_ZONE).start)
