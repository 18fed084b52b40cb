"""The projection "webhooks": its fold writes each batch with one statement a kind of change."""

from collections.abc import Sequence

from sqlalchemy import Connection, Executable, MetaData, bindparam, func, insert, select, update

from services.eventstore.event import RecordedEvent
from services.notifier import delivery, endpoint, message
from services.notifier.delivery import DeliveryState
from services.notifier.endpoint import EndpointState
from services.notifier.readmodel.rows import WebhookRows
from services.notifier.readmodel.tables import WebhookTables, webhook_tables
from services.projection.row import Row


class WebhookProjection:
    """Endpoints, messages, deliveries and attempts, as queries and the workers read them. Folding sends nothing."""

    name = "webhooks"
    version = 1
    categories = frozenset({endpoint.CATEGORY, message.CATEGORY, delivery.CATEGORY})

    def tables(self, metadata: MetaData, suffix: str) -> WebhookTables:
        """Declare the tables."""
        return webhook_tables(metadata, suffix)

    def fold(self, connection: Connection, tables: WebhookTables, events: Sequence[RecordedEvent]) -> None:
        """Insert what is new, then update what changed, then cancel what can no longer be sent.

        The state of a delivery is that of its last attempt, or cancelled where that is pending and the endpoint has
        ended, whichever came first: so it does not depend on how the log is cut into batches.
        """
        rows = WebhookRows()
        for recorded in events:
            rows.add(recorded)
        _insert(connection, tables, rows)
        _update(connection, tables, rows)
        _cancel(connection, tables)


def _insert(connection: Connection, tables: WebhookTables, rows: WebhookRows) -> None:
    _write(connection, insert(tables.endpoints), rows.endpoints)
    _write(connection, insert(tables.messages), rows.messages)
    _write(connection, insert(tables.deliveries), rows.deliveries)
    _write(connection, insert(tables.attempts), rows.attempts)


def _update(connection: Connection, tables: WebhookTables, rows: WebhookRows) -> None:
    endpoints, deliveries = tables.endpoints, tables.deliveries
    ended = (
        update(endpoints)
        .where(endpoints.c.key == bindparam("of_key"))
        .values(
            state=bindparam("to_state"),
            ended_position=func.coalesce(endpoints.c.ended_position, bindparam("at_position")),
        )
    )
    _write(connection, ended, rows.ended)
    attempted = update(deliveries).where(
        deliveries.c.message == bindparam("of_message"), deliveries.c.endpoint == bindparam("of_endpoint")
    )
    _write(connection, attempted, rows.attempted)


def _cancel(connection: Connection, tables: WebhookTables) -> None:
    """Whatever is due to an endpoint that has ended; it has ended for good."""
    endpoints, deliveries = tables.endpoints, tables.deliveries
    ended = select(endpoints.c.key).where(endpoints.c.state != EndpointState.ENABLED.value)
    due = (deliveries.c.endpoint.in_(ended)) & (deliveries.c.state == DeliveryState.PENDING.value)
    connection.execute(
        update(deliveries).where(due).values(state=DeliveryState.CANCELLED.value, next_attempt_at_us=None)
    )


def _write(connection: Connection, statement: Executable, rows: list[Row]) -> None:
    if rows:
        connection.execute(statement, rows)
