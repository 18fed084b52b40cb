"""The projection "usage_periods": closed periods and their totals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import BigInteger, Column, Connection, Index, MetaData, Table

from meterlog.events.v1.meter_pb2 import UsagePeriodClosed
from services.eventstore.catalogue import decode
from services.eventstore.event import RecordedEvent
from services.kernel.clock import epoch_us
from services.kernel.timestamp import from_timestamp
from services.projection.columns import TEXT, Apart, apart
from services.projection.upsert import insert_missing


@dataclass(frozen=True, slots=True)
class PeriodTables:
    """`periods`: one row a closed period of a subject; `totals`: one row more for each meter with usage in it."""

    periods: Table
    totals: Table


class UsagePeriods:
    """Lists what was closed, as it was closed."""

    name = "usage_periods"
    version = 1
    categories = frozenset({"period"})

    def tables(self, metadata: MetaData, suffix: str) -> PeriodTables:
        """Declare the tables of one generation."""
        return PeriodTables(_periods(metadata, suffix), _totals(metadata, suffix))

    def fold(self, connection: Connection, tables: PeriodTables, events: Sequence[RecordedEvent]) -> None:
        """One row a closing, one a total."""
        closings = [cast(UsagePeriodClosed, decode(recorded)) for recorded in events]
        insert_missing(connection, tables.periods, [(*_key(closing), *_outcome(closing)) for closing in closings])
        totals = [(*_key(closing), total.meter, total.quantity) for closing in closings for total in closing.totals]
        insert_missing(connection, tables.totals, totals)


def _periods(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "closed_periods" + suffix,
        metadata,
        *_key_columns(),
        Column("end_us", BigInteger, nullable=False),
        Column("position", BigInteger, nullable=False, info=apart(Apart.PLACE)),
        Column("closed_at_us", BigInteger, nullable=False),
        Index("closed_periods_by_subject" + suffix, "subject", "start_us"),
        sqlite_with_rowid=False,
    )


def _totals(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "closed_period_totals" + suffix,
        metadata,
        *_key_columns(),
        Column("meter", TEXT, primary_key=True),
        Column("quantity", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )


def _key_columns() -> tuple[Column[int], Column[str], Column[str]]:
    return (
        Column("start_us", BigInteger, primary_key=True, autoincrement=False),
        Column("subject", TEXT, primary_key=True),
        Column("period", TEXT, primary_key=True),
    )


def _key(closing: UsagePeriodClosed) -> tuple[int, str, str]:
    return epoch_us(from_timestamp(closing.start_at)), closing.subject, closing.period


def _outcome(closing: UsagePeriodClosed) -> tuple[int, int, int]:
    end_us = epoch_us(from_timestamp(closing.end_at))
    return end_us, closing.position, epoch_us(from_timestamp(closing.closed_at))
