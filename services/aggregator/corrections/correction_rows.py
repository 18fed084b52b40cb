"""Corrections in SQL: folded from their events, read back by key and newest first."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from sqlalchemy import Connection, select, update

from meterlog.events.v1.correction_pb2 import CorrectionReverted, RecordedUsage, UsageAmended, UsageCancelled
from services.aggregator.corrections.tables import CorrectionTables
from services.eventstore.event import Position
from services.kernel.clock import epoch_us
from services.kernel.errors import NotFound
from services.kernel.timestamp import from_timestamp
from services.projection.upsert import upsert

CorrectionEvent: TypeAlias = UsageCancelled | UsageAmended | CorrectionReverted
Decided: TypeAlias = UsageCancelled | UsageAmended


class Kind(StrEnum):
    """What a correction does, as its row says."""

    CANCEL = "cancel"
    AMEND = "amend"


@dataclass(frozen=True, slots=True)
class CorrectionRow:
    """A correction as folded: what was decided and where it stands, and what reverted it (None while it holds)."""

    event: Decided
    position: Position
    reverted: CorrectionReverted | None
    reverted_position: Position | None


def fold_correction(
    connection: Connection, tables: CorrectionTables, event: CorrectionEvent, position: Position
) -> None:
    """Bring the rows of one correction up to date."""
    match event:
        case UsageCancelled():
            upsert(connection, tables.corrections, [_row(event, Kind.CANCEL, position)])
            upsert(connection, tables.named, _named_rows(event.key, Kind.CANCEL, event.usage_events, position))
        case UsageAmended():
            upsert(connection, tables.corrections, [_row(event, Kind.AMEND, position)])
            said = (event.value or None, _properties_text(event))
            upsert(connection, tables.named, _named_rows(event.key, Kind.AMEND, [event.usage_event], position, *said))
        case CorrectionReverted():
            _revert(connection, tables, event, position)


def read_correction(connection: Connection, tables: CorrectionTables, key: str) -> CorrectionRow:
    """One correction; raises NotFound."""
    chosen = select(tables.corrections).where(tables.corrections.c.key == key)
    row = connection.execute(chosen).one_or_none()
    if row is None:
        raise no_correction(key)
    return correction_row(row)


def no_correction(key: str) -> NotFound:
    """The refusal of a key that no correction has."""
    return NotFound(f'no correction "{key[:128]}"; check the key', reason="CORRECTION_NOT_FOUND")


def list_corrections(
    connection: Connection, tables: CorrectionTables, before: int | None, limit: int
) -> list[CorrectionRow]:
    """Up to `limit` corrections that were decided before the position (None: all), newest first."""
    corrections = tables.corrections
    chosen = select(corrections).order_by(corrections.c.position.desc()).limit(limit)
    if before is not None:
        chosen = chosen.where(corrections.c.position < before)
    return [correction_row(row) for row in connection.execute(chosen)]


def correction_row(row: Any) -> CorrectionRow:
    """The row of the table as a value."""
    message = UsageCancelled if row.kind == Kind.CANCEL else UsageAmended
    return CorrectionRow(
        message.FromString(row.event),
        Position(row.position),
        None if row.reverted is None else CorrectionReverted.FromString(row.reverted),
        None if row.reverted_position is None else Position(row.reverted_position),
    )


def _row(event: Decided, kind: Kind, position: Position) -> tuple[Any, ...]:
    chooser = event.filter if isinstance(event, UsageCancelled) and event.HasField("filter") else None
    start_us = epoch_us(from_timestamp(chooser.start_at)) if chooser and chooser.HasField("start_at") else None
    end_us = epoch_us(from_timestamp(chooser.end_at)) if chooser and chooser.HasField("end_at") else None
    stored = event.SerializeToString(deterministic=True)
    return (event.key, str(kind), int(chooser is not None), start_us, end_us, position, None, stored, None)


def _named_rows(
    key: str,
    kind: Kind,
    usage: Iterable[RecordedUsage],
    position: Position,
    value: str | None = None,
    properties: str | None = None,
) -> list[tuple[Any, ...]]:
    return [
        (
            key,
            number,
            str(kind),
            epoch_us(from_timestamp(each.time)),
            value,
            properties,
            each.position,
            each.row,
            position,
            None,
        )
        for number, each in enumerate(usage)
    ]


def _properties_text(event: UsageAmended) -> str | None:
    if not event.HasField("properties"):
        return None
    return json.dumps(dict(event.properties.properties), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _revert(connection: Connection, tables: CorrectionTables, event: CorrectionReverted, position: Position) -> None:
    corrections, named = tables.corrections, tables.named
    stored = event.SerializeToString(deterministic=True)
    connection.execute(
        update(corrections).where(corrections.c.key == event.key).values(reverted=stored, reverted_position=position)
    )
    connection.execute(update(named).where(named.c.key == event.key).values(reverted_position=position))
