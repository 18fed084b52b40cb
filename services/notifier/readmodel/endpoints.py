"""Reads endpoints. Lists go by key; `after` is the key of the last row seen."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select

from services.eventstore.event import Position
from services.kernel.clock import from_epoch_us
from services.notifier.endpoint import Endpoint, EndpointContent, EndpointMode, EndpointState
from services.notifier.readmodel.tables import WebhookTables
from services.notifier.signature import Seal


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Which messages an endpoint gets: those of its types whose fact lies between its creation and its end."""

    key: str
    message_types: tuple[str, ...]
    created_position: Position
    ended_position: Position | None

    def wants(self, message_type: str, source_position: Position) -> bool:
        """Whether it was enabled and subscribed when the fact was recorded."""
        has_ended = self.ended_position is not None and self.ended_position < source_position
        is_subscribed = not self.message_types or message_type in self.message_types
        return self.created_position < source_position and not has_ended and is_subscribed


def find_endpoint(connection: Connection, tables: WebhookTables, key: str) -> Endpoint | None:
    """The endpoint with this key, unless it is deleted."""
    endpoints = tables.endpoints
    query = select(endpoints).where(endpoints.c.key == key, endpoints.c.state != EndpointState.DELETED.value)
    row = connection.execute(query).first()
    return _endpoint(row) if row else None


def list_endpoints(connection: Connection, tables: WebhookTables, after: str, limit: int) -> Iterator[Endpoint]:
    """Up to `limit` endpoints behind the key `after`, without those that are deleted."""
    endpoints = tables.endpoints
    query = (
        select(endpoints)
        .where(endpoints.c.key > after, endpoints.c.state != EndpointState.DELETED.value)
        .order_by(endpoints.c.key)
        .limit(limit)
    )
    return map(_endpoint, connection.execute(query))


def count_endpoints(connection: Connection, tables: WebhookTables) -> int:
    """How many endpoints there are that are not deleted."""
    endpoints = tables.endpoints
    query = select(func.count()).select_from(endpoints).where(endpoints.c.state != EndpointState.DELETED.value)
    return int(connection.execute(query).scalar_one())


def subscribers(connection: Connection, tables: WebhookTables, before: Position) -> list[Subscriber]:
    """Every endpoint created before the position, those that have ended since included, by key."""
    endpoints = tables.endpoints
    query = select(endpoints).where(endpoints.c.created_position < before).order_by(endpoints.c.key)
    return [
        Subscriber(row.key, tuple(row.message_types.split()), row.created_position, row.ended_position)
        for row in connection.execute(query)
    ]


def _endpoint(row: Row[Any]) -> Endpoint:
    content = EndpointContent(row.url, tuple(row.message_types.split()), row.description, EndpointMode(row.mode))
    seal = Seal(row.secret_salt, row.secret_fingerprint)
    return Endpoint(row.key, content, seal, EndpointState(row.state), from_epoch_us(row.created_at_us))
