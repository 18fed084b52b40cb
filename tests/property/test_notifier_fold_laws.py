"""However a log of webhooks is cut into batches, the tables come out the same, and nothing is due to who has ended."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from uuid import UUID

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, MetaData, select

from meterlog.events.v1.webhook_pb2 import (
    WebhookDeliveryAttempted,
    WebhookEndpointCreated,
    WebhookEndpointDeleted,
    WebhookEndpointDisabled,
    WebhookMessageCreated,
)
from services.eventstore.event import Position, RecordedEvent, StreamName
from services.kernel.timestamp import to_timestamp
from services.notifier.delivery import Answer, attempted
from services.notifier.policy import verdict
from services.notifier.readmodel.projection import WebhookProjection
from services.notifier.readmodel.tables import WebhookTables
from services.projection.digest import tables_digest
from tests.databases import DATABASES, scratch

NOON = datetime(2024, 2, 1, 12, tzinfo=UTC)
ENDPOINTS = ("a", "b", "c")
Tables: TypeAlias = tuple[Connection, MetaData, WebhookTables]
STATUSES = (204, 410, 500, 503)


@st.composite
def logs(draw: st.DrawFn) -> list[Message]:
    """A log as several workers may leave it: attempts that end after the endpoint did, messages to who is gone."""
    log: list[Message] = [WebhookEndpointCreated(key=key, mode="live", url="https://x.example") for key in ENDPOINTS]
    attempts: dict[tuple[str, str], int] = {}
    open_deliveries: set[tuple[str, str]] = set()
    for number in range(draw(st.integers(1, 12))):
        match draw(st.sampled_from(("message", "attempt", "attempt", "attempt", "delete", "disable"))):
            case "message":
                wanted = draw(st.sets(st.sampled_from(ENDPOINTS), min_size=1))
                message_id = f"msg_{number}"
                log.append(_message(message_id, sorted(wanted), number))
                open_deliveries |= {(message_id, key) for key in wanted}
            case "attempt" if open_deliveries:
                delivery = draw(st.sampled_from(sorted(open_deliveries)))
                attempts[delivery] = attempts.get(delivery, 0) + 1
                event = _attempt(delivery, attempts[delivery], draw(st.sampled_from(STATUSES)))
                log.append(event)
                if event.delivery_state != "pending":
                    open_deliveries.discard(delivery)
            case "delete":
                log.append(WebhookEndpointDeleted(key=draw(st.sampled_from(ENDPOINTS))))
            case "disable":
                log.append(WebhookEndpointDisabled(key=draw(st.sampled_from(ENDPOINTS)), reason="gone"))
    return log


@pytest.fixture(scope="module", params=DATABASES)
def tables(request: pytest.FixtureRequest) -> Iterator[Tables]:
    """Empty tables; what a fold writes is rolled back."""
    metadata = MetaData()
    declared = WebhookProjection().tables(metadata, "")
    with scratch(request.param) as connection:
        metadata.create_all(connection)
        yield connection, metadata, declared


@settings(deadline=None)
@given(log=logs(), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=20))
def test_any_cut_gives_the_same_rows(tables: Tables, log: list[Message], sizes: list[int]) -> None:
    events = recorded(log)
    cut: list[Sequence[RecordedEvent]] = []
    for size in sizes:
        cut.append(events[:size])
        events = events[size:]
    in_pieces, _ = fold(tables, [*cut, events])
    at_once, due = fold(tables, [recorded(log)])
    one_by_one, _ = fold(tables, [[event] for event in recorded(log)])
    assert in_pieces == at_once == one_by_one
    ended = {event.key for event in log if isinstance(event, WebhookEndpointDeleted | WebhookEndpointDisabled)}
    assert not due & ended


def fold(tables: Tables, batches: Sequence[Sequence[RecordedEvent]]) -> tuple[str, set[str]]:
    """The digest of the tables, and the endpoints that something is due to."""
    connection, metadata, declared = tables
    deliveries = declared.deliveries
    due = select(deliveries.c.endpoint).where(deliveries.c.next_attempt_at_us.is_not(None))
    with connection.begin_nested() as transaction:
        for batch in batches:
            WebhookProjection().fold(connection, declared, batch)
        found = tables_digest(connection, metadata, ""), set(connection.execute(due).scalars())
        transaction.rollback()
    return found


def recorded(log: list[Message]) -> list[RecordedEvent]:
    """The events with positions; their streams do not matter to the fold."""
    stream = StreamName("any", "stream")
    return [
        RecordedEvent(
            Position(place), stream, 0, UUID(int=place), type(event).__name__, 1, NOON, event.SerializeToString(), b""
        )
        for place, event in enumerate(log, start=1)
    ]


def _message(message_id: str, endpoints: list[str], number: int) -> WebhookMessageCreated:
    return WebhookMessageCreated(
        id=message_id,
        type="invoice.finalized",
        source_position=number,
        body=b"{}",
        occurred_at=to_timestamp(NOON + timedelta(seconds=number)),
        endpoints=endpoints,
    )


def _attempt(delivery: tuple[str, str], attempt: int, status: int) -> WebhookDeliveryAttempted:
    found = verdict(Answer(status), delivery, min(attempt, 10), NOON)
    return attempted(delivery, attempt, NOON, 5, Answer(status), found)
