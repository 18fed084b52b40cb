"""The projection "billing": its fold writes each batch with one statement a kind of change."""

from collections.abc import Sequence

from sqlalchemy import BigInteger, Connection, Executable, MetaData, Table, bindparam, insert, update

from services.eventstore.event import RecordedEvent
from services.projection.row import Row
from services.rating import customer, invoice, numbering, plan_stream, subscription
from services.rating.readmodel.rows import BillingRows
from services.rating.readmodel.tables import BillingTables, billing_tables


class BillingProjection:
    """Customers, plans, subscriptions and invoices, as queries and the billing worker read them."""

    name = "billing"
    version = 1
    categories = frozenset(
        {customer.CATEGORY, plan_stream.CATEGORY, subscription.CATEGORY, invoice.CATEGORY, numbering.CATEGORY}
    )

    def tables(self, metadata: MetaData, suffix: str) -> BillingTables:
        """Declare the tables."""
        return billing_tables(metadata, suffix)

    def fold(self, connection: Connection, tables: BillingTables, events: Sequence[RecordedEvent]) -> None:
        """Insert what is new, then update what changed: nothing is changed before it is there."""
        rows = BillingRows()
        for recorded in events:
            rows.add(recorded)
        _insert(connection, tables, rows)
        _update(connection, tables, rows)


def _insert(connection: Connection, tables: BillingTables, rows: BillingRows) -> None:
    _write(connection, insert(tables.customers), rows.customers)
    _write(connection, insert(tables.plans), rows.plans)
    _write(connection, insert(tables.subscriptions), rows.subscriptions)
    _write(connection, insert(tables.invoices), rows.invoices)
    _write(connection, insert(tables.lines), rows.lines)
    _write(connection, insert(tables.numbers), rows.numbers)


def _update(connection: Connection, tables: BillingTables, rows: BillingRows) -> None:
    customers, invoices = tables.customers, tables.invoices
    _write(connection, update(customers).where(customers.c.key == bindparam("of_key")), rows.renamed)
    _write(connection, update(invoices).where(invoices.c.id == bindparam("of_id")), rows.finalized)
    _update_subscriptions(connection, tables.subscriptions, rows)


def _update_subscriptions(connection: Connection, subscriptions: Table, rows: BillingRows) -> None:
    """Move the end and the next period; where they meet, nothing is left to be billed, whichever came first."""
    of_key = subscriptions.c.key == bindparam("of_key")
    next_period = subscriptions.c.next_period_at_us
    until = bindparam("until_us", type_=BigInteger)
    _write(connection, update(subscriptions).where(of_key), rows.cancelled)
    billed = update(subscriptions).where(of_key, next_period < until).values(next_period_at_us=until)
    _write(connection, billed, rows.billed_until)
    over = update(subscriptions).where(of_key, next_period >= subscriptions.c.end_at_us).values(next_period_at_us=None)
    _write(connection, over, [{"of_key": row["of_key"]} for row in (*rows.cancelled, *rows.billed_until)])


def _write(connection: Connection, statement: Executable, rows: list[Row]) -> None:
    if rows:
        connection.execute(statement, rows)
