"""The projection "usage_periods": closed periods, their totals, and how they were restated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, Table, bindparam, delete, text, update

from meterlog.events.v1.meter_pb2 import UsagePeriodClosed, UsagePeriodRestated
from services.aggregator.periods.period import PeriodEvent
from services.aggregator.periods.period_kind import UTC
from services.eventstore.catalogue import decode
from services.eventstore.event import RecordedEvent
from services.kernel.clock import epoch_us
from services.kernel.timestamp import from_timestamp
from services.projection.columns import TEXT, Apart, apart
from services.projection.upsert import insert_missing, upsert

PeriodKey = tuple[int, str, str, str]
"""Start (microseconds since 1970), subject, kind and time zone of a period."""

KEY = ("start_us", "subject", "kind", "time_zone")
"""The columns of a PeriodKey."""


@dataclass(frozen=True, slots=True)
class PeriodTables:
    """`periods`: one row a closed period of a subject, as it was said last; `totals`: one row more for each meter.

    `restatements`: one row for each time that something changed; `restated_totals`: one row more for each meter of
    which it did.
    """

    periods: Table
    totals: Table
    restatements: Table
    restated_totals: Table


class UsagePeriods:
    """Lists what was closed, as it was closed and restated."""

    name = "usage_periods"
    version = 2
    categories = frozenset({"period"})

    def tables(self, metadata: MetaData, suffix: str) -> PeriodTables:
        """Declare the tables of one generation."""
        return PeriodTables(
            periods=_periods(metadata, suffix),
            totals=_totals(metadata, suffix),
            restatements=_restatements(metadata, suffix),
            restated_totals=_restated_totals(metadata, suffix),
        )

    def fold(self, connection: Connection, tables: PeriodTables, events: Sequence[RecordedEvent]) -> None:
        """All closings first: a period's closing comes before its restatements, and those come in their order."""
        decoded = [cast(PeriodEvent, decode(recorded)) for recorded in events]
        _fold_closings(connection, tables, [event for event in decoded if isinstance(event, UsagePeriodClosed)])
        _fold_restatements(connection, tables, [event for event in decoded if isinstance(event, UsagePeriodRestated)])


def _fold_closings(connection: Connection, tables: PeriodTables, closings: Sequence[UsagePeriodClosed]) -> None:
    insert_missing(connection, tables.periods, [_period(closing) for closing in closings])
    totals = [(*_key(closing), total.meter, total.quantity) for closing in closings for total in closing.totals]
    insert_missing(connection, tables.totals, totals)


def _fold_restatements(
    connection: Connection, tables: PeriodTables, restatements: Sequence[UsagePeriodRestated]
) -> None:
    if not restatements:
        return
    insert_missing(connection, tables.restatements, [_restatement(event) for event in restatements])
    changed = [
        (*_key(event), event.restatement, total.meter, total.old_quantity or None, total.new_quantity or None)
        for event in restatements
        for total in event.totals
    ]
    insert_missing(connection, tables.restated_totals, changed)
    _change_totals(connection, tables, restatements)
    last = {_key(event): event for event in restatements}
    news = [
        {**_bound(key), "new_position": event.position, "new_restatements": event.restatement}
        for key, event in last.items()
    ]
    connection.execute(
        update(tables.periods)
        .where(*(tables.periods.c[name] == bindparam(f"key_{name}") for name in KEY))
        .values(position=bindparam("new_position"), restatements=bindparam("new_restatements")),
        news,
    )


def _change_totals(connection: Connection, tables: PeriodTables, restatements: Sequence[UsagePeriodRestated]) -> None:
    """The last word on each total counts; one that is no more is taken out."""
    last = {(*_key(event), total.meter): total.new_quantity for event in restatements for total in event.totals}
    upsert(connection, tables.totals, [(*key, quantity) for key, quantity in last.items() if quantity])
    gone = [{**_bound(key[:4]), "key_meter": key[4]} for key, quantity in last.items() if not quantity]
    if gone:
        totals = tables.totals
        chosen = delete(totals).where(*(totals.c[name] == bindparam(f"key_{name}") for name in (*KEY, "meter")))
        connection.execute(chosen, gone)


def _periods(metadata: MetaData, suffix: str) -> Table:
    is_restated = text("restatements > 0")
    return Table(
        "closed_periods" + suffix,
        metadata,
        *_key_columns(),
        Column("end_us", BigInteger, nullable=False),
        Column("position", BigInteger, nullable=False, info=apart(Apart.PLACE)),
        Column("closed_at_us", BigInteger, nullable=False),
        Column("restatements", Integer, nullable=False),
        Index("closed_periods_by_subject" + suffix, "subject", "start_us"),
        Index("closed_periods_restated" + suffix, "start_us", sqlite_where=is_restated, postgresql_where=is_restated),
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


def _restatements(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "period_restatements" + suffix,
        metadata,
        *_key_columns(),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("previous_position", BigInteger, nullable=False, info=apart(Apart.PLACE)),
        Column("position", BigInteger, nullable=False, info=apart(Apart.PLACE)),
        Column("restated_at_us", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _restated_totals(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "period_restated_totals" + suffix,
        metadata,
        *_key_columns(),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("meter", TEXT, primary_key=True),
        Column("old_quantity", TEXT),
        Column("new_quantity", TEXT),
        sqlite_with_rowid=False,
    )


def _key_columns() -> tuple[Column[int] | Column[str], ...]:
    return (
        Column("start_us", BigInteger, primary_key=True, autoincrement=False),
        Column("subject", TEXT, primary_key=True),
        Column("kind", TEXT, primary_key=True),
        Column("time_zone", TEXT, primary_key=True),
    )


def _key(event: PeriodEvent) -> PeriodKey:
    return epoch_us(from_timestamp(event.start_at)), event.subject, event.period, event.time_zone or UTC


def _bound(key: Sequence[int | str]) -> dict[str, int | str]:
    return {f"key_{name}": part for name, part in zip(KEY, key, strict=True)}


def _period(closing: UsagePeriodClosed) -> tuple[int | str, ...]:
    end_us, closed_at_us = epoch_us(from_timestamp(closing.end_at)), epoch_us(from_timestamp(closing.closed_at))
    return (*_key(closing), end_us, closing.position, closed_at_us, 0)


def _restatement(event: UsagePeriodRestated) -> tuple[int | str, ...]:
    restated_at_us = epoch_us(from_timestamp(event.restated_at))
    return (*_key(event), event.restatement, event.previous_position, event.position, restated_at_us)
