"""Reads what the dispatcher has to do next."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, exists, func, select

from services.kernel.clock import epoch_us, from_epoch_us
from services.notifier.delivery import DeliveryKey, DeliveryState
from services.notifier.endpoint import EndpointMode, EndpointState
from services.notifier.readmodel.tables import WebhookTables
from services.notifier.signature import Seal

_PENDING = DeliveryState.PENDING.value


@dataclass(frozen=True, slots=True)
class DueEndpoint:
    """An endpoint that something is due to, with what an attempt needs to know of it."""

    key: str
    url: str
    mode: EndpointMode
    seal: Seal


@dataclass(frozen=True, slots=True)
class PlannedAttempt:
    """Everything that an attempt needs. `number` counts from 1."""

    message_id: str
    message_type: str
    body: bytes
    endpoint: DueEndpoint
    number: int

    @property
    def key(self) -> DeliveryKey:
        """The delivery that it belongs to."""
        return (self.message_id, self.endpoint.key)


def due_endpoints(connection: Connection, tables: WebhookTables, now: datetime) -> list[DueEndpoint]:
    """The enabled endpoints that a delivery is due to, by key."""
    endpoints, deliveries = tables.endpoints, tables.deliveries
    is_due = exists().where(
        deliveries.c.endpoint == endpoints.c.key,
        deliveries.c.state == _PENDING,
        deliveries.c.next_attempt_at_us <= epoch_us(now),
    )
    query = select(endpoints).where(endpoints.c.state == EndpointState.ENABLED.value, is_due).order_by(endpoints.c.key)
    return [
        DueEndpoint(row.key, row.url, EndpointMode(row.mode), Seal(row.secret_salt, row.secret_fingerprint))
        for row in connection.execute(query)
    ]


def due_messages(connection: Connection, tables: WebhookTables, endpoint: str, now: datetime, limit: int) -> list[str]:
    """Ids of up to `limit` messages that are due to the endpoint, longest due first."""
    deliveries = tables.deliveries
    query = (
        select(deliveries.c.message)
        .where(
            deliveries.c.endpoint == endpoint,
            deliveries.c.state == _PENDING,
            deliveries.c.next_attempt_at_us <= epoch_us(now),
        )
        .order_by(deliveries.c.next_attempt_at_us, deliveries.c.position)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def planned_attempts(
    connection: Connection, tables: WebhookTables, endpoint: DueEndpoint, message_ids: Collection[str]
) -> list[PlannedAttempt]:
    """The next attempts of these messages to one endpoint, with their exact bodies."""
    messages, deliveries = tables.messages, tables.deliveries
    query = (
        select(messages.c.id, messages.c.type, messages.c.body, deliveries.c.attempts)
        .join(deliveries, deliveries.c.message == messages.c.id)
        .where(deliveries.c.endpoint == endpoint.key, messages.c.id.in_(message_ids))
        .order_by(messages.c.position)
    )
    return [PlannedAttempt(row.id, row.type, row.body, endpoint, row.attempts + 1) for row in connection.execute(query)]


def next_due_at(connection: Connection, tables: WebhookTables, after: datetime | None = None) -> datetime | None:
    """The first instant (behind `after`, if given) at which a delivery is due; None when none will be."""
    deliveries = tables.deliveries
    query = select(func.min(deliveries.c.next_attempt_at_us)).where(deliveries.c.state == _PENDING)
    if after is not None:
        query = query.where(deliveries.c.next_attempt_at_us > epoch_us(after))
    found = connection.execute(query).scalar()
    return None if found is None else from_epoch_us(found)
