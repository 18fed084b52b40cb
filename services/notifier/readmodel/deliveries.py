"""Reads deliveries with their attempts, newest first: the delivery log."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, Select, select, tuple_

from services.eventstore.event import Position
from services.kernel.clock import from_epoch_us
from services.notifier.delivery import DeliveryKey, DeliveryState
from services.notifier.readmodel.tables import WebhookTables

DeliveryPlace: TypeAlias = tuple[int, str]
"""Where a delivery stands in lists: the log position of its message, then the endpoint's key."""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt that was made. `error` is empty on success, `status` 0 when no answer came."""

    number: int
    attempted_at: datetime
    status: int
    error: str
    duration_ms: int
    response_excerpt: bytes


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """A delivery with all its attempts, oldest first."""

    key: DeliveryKey
    message_type: str
    state: DeliveryState
    next_attempt_at: datetime | None
    position: Position
    attempts: tuple[AttemptRecord, ...] = ()

    @property
    def place(self) -> DeliveryPlace:
        """Its place in lists."""
        return (self.position, self.key[1])


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries a list shows; what is empty or None shows all."""

    endpoint: str = ""
    state: DeliveryState | None = None
    message_id: str = ""


def list_deliveries(
    connection: Connection, tables: WebhookTables, shown: DeliveryFilter, before: DeliveryPlace | None, limit: int
) -> list[DeliveryRecord]:
    """Up to `limit` deliveries older than the one at `before`."""
    page = _page(tables, shown, before).limit(limit)
    records = [_record(row) for row in connection.execute(page)]
    attempts = _attempts(connection, tables, page)
    return [replace(record, attempts=tuple(attempts.get(record.key, ()))) for record in records]


def _page(tables: WebhookTables, shown: DeliveryFilter, before: DeliveryPlace | None) -> Select[tuple[Any, ...]]:
    deliveries = tables.deliveries
    place = (deliveries.c.position, deliveries.c.endpoint)
    query = select(deliveries).order_by(deliveries.c.position.desc(), deliveries.c.endpoint.desc())
    if shown.endpoint:
        query = query.where(deliveries.c.endpoint == shown.endpoint)
    if shown.state is not None:
        query = query.where(deliveries.c.state == shown.state.value)
    if shown.message_id:
        query = query.where(deliveries.c.message == shown.message_id)
    return query if before is None else query.where(tuple_(*place) < before)


def _attempts(
    connection: Connection, tables: WebhookTables, page: Select[tuple[Any, ...]]
) -> dict[DeliveryKey, list[AttemptRecord]]:
    """The attempts of the deliveries on a page, oldest first."""
    attempts, shown = tables.attempts, page.subquery()
    is_shown = (attempts.c.message == shown.c.message) & (attempts.c.endpoint == shown.c.endpoint)
    query = select(attempts).join(shown, is_shown).order_by(attempts.c.number)
    found: dict[DeliveryKey, list[AttemptRecord]] = {}
    for row in connection.execute(query):
        found.setdefault((row.message, row.endpoint), []).append(_attempt(row))
    return found


def _record(row: Row[Any]) -> DeliveryRecord:
    return DeliveryRecord(
        key=(row.message, row.endpoint),
        message_type=row.message_type,
        state=DeliveryState(row.state),
        next_attempt_at=None if row.next_attempt_at_us is None else from_epoch_us(row.next_attempt_at_us),
        position=row.position,
    )


def _attempt(row: Row[Any]) -> AttemptRecord:
    return AttemptRecord(
        number=row.number,
        attempted_at=from_epoch_us(row.attempted_at_us),
        status=row.status,
        error=row.error,
        duration_ms=row.duration_ms,
        response_excerpt=row.response_excerpt,
    )
