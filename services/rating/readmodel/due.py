"""Reads what the billing worker has to do next, oldest billing period first."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import Connection, or_, select, tuple_

from services.kernel.clock import epoch_us, from_epoch_us
from services.rating.invoice import Invoice
from services.rating.readmodel.catalogue import subscription_of
from services.rating.readmodel.invoices import invoice_of
from services.rating.readmodel.tables import BillingTables
from services.rating.subscription import Subscription

DueKey: TypeAlias = tuple[int, str]
"""Where something stands in the worker's order: epoch microseconds, then the subscription's key or the invoice's id."""

FIRST: DueKey = (-(2**62), "")


@dataclass(frozen=True, slots=True)
class DuePeriod:
    """A billing period that has begun and has no invoice yet."""

    subscription: Subscription
    start_at: datetime
    time_zone: str
    currency: str

    @property
    def subscription_key(self) -> str:
        """Whose period it is."""
        return self.subscription.key

    @property
    def key(self) -> DueKey:
        """Its place in the order."""
        return (epoch_us(self.start_at), self.subscription.key)


@dataclass(frozen=True, slots=True)
class DueInvoice:
    """A draft whose billing period is over."""

    invoice: Invoice

    @property
    def subscription_key(self) -> str:
        """Whose invoice it is."""
        return self.invoice.subscription

    @property
    def key(self) -> DueKey:
        """Its place in the order."""
        return (epoch_us(self.invoice.period.end), self.invoice.id)


def due_periods(
    connection: Connection, tables: BillingTables, begun_by: datetime, after: DueKey, limit: int
) -> list[DuePeriod]:
    """Up to `limit` subscriptions whose next period has begun, each with that period, behind `after`."""
    subscriptions, customers = tables.subscriptions, tables.customers
    key = (subscriptions.c.next_period_at_us, subscriptions.c.key)
    query = (
        select(subscriptions, customers.c.time_zone, customers.c.currency)
        .join(customers, customers.c.key == subscriptions.c.customer)
        .where(subscriptions.c.next_period_at_us <= epoch_us(begun_by), tuple_(*key) > after)
        .order_by(*key)
        .limit(limit)
    )
    return [
        DuePeriod(subscription_of(row), from_epoch_us(row.next_period_at_us), row.time_zone, row.currency)
        for row in connection.execute(query)
    ]


def due_invoices(
    connection: Connection, tables: BillingTables, ended_by: datetime, after: DueKey, limit: int
) -> list[DueInvoice]:
    """Up to `limit` drafts whose period had ended by then, behind `after`; none of a period that was cancelled."""
    invoices, subscriptions = tables.invoices, tables.subscriptions
    key = (invoices.c.period_end_us, invoices.c.id)
    query = (
        select(invoices)
        .join(subscriptions, subscriptions.c.key == invoices.c.subscription)
        .where(invoices.c.number == "", invoices.c.period_end_us <= epoch_us(ended_by), tuple_(*key) > after)
        .where(
            or_(
                subscriptions.c.end_at_us.is_(None),
                invoices.c.period_start_us < subscriptions.c.end_at_us,
            )
        )
        .order_by(*key)
        .limit(limit)
    )
    return [DueInvoice(invoice_of(row)) for row in connection.execute(query)]
