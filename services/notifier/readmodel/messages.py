"""Reads messages, newest first."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from services.eventstore.event import BEGINNING, Position
from services.kernel.clock import from_epoch_us
from services.notifier.readmodel.tables import WebhookTables

FETCH_ROWS = 20
"""Bodies held at once while a page is read."""


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message as it stands in the log at `position`."""

    id: str
    type: str
    body: bytes
    occurred_at: datetime
    source_position: Position
    position: Position


def list_messages(
    connection: Connection, tables: WebhookTables, *, message_type: str, before: Position | None, limit: int
) -> Iterator[MessageRecord]:
    """Up to `limit` messages older than the one at `before`, of one type, or of all for an empty type."""
    messages = tables.messages
    query = select(messages).order_by(messages.c.position.desc()).limit(limit)
    if message_type:
        query = query.where(messages.c.type == message_type)
    if before is not None:
        query = query.where(messages.c.position < before)
    return map(_record, connection.execute(query.execution_options(yield_per=FETCH_ROWS)))


def source_position_of_nth_newest(connection: Connection, tables: WebhookTables, number: int) -> Position:
    """Where the fact of the `number`th newest message stands (from 0), by facts; BEGINNING when there are fewer."""
    sources = tables.messages.c.source_position
    found = connection.execute(select(sources).order_by(sources.desc()).limit(1).offset(number)).scalar()
    return BEGINNING if found is None else Position(found)


def _record(row: Row[Any]) -> MessageRecord:
    occurred_at = from_epoch_us(row.occurred_at_us)
    return MessageRecord(row.id, row.type, row.body, occurred_at, row.source_position, row.position)
