"""The tables of the projection "billing". Instants are epoch microseconds; plans and lines keep their stored bytes."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table

from services.projection.columns import TEXT, Apart, apart


@dataclass(frozen=True, slots=True)
class BillingTables:
    """One generation of the tables."""

    customers: Table
    plans: Table
    subscriptions: Table
    invoices: Table
    lines: Table
    numbers: Table


def billing_tables(metadata: MetaData, suffix: str) -> BillingTables:
    """Declare the tables; every name ends with `suffix`."""
    return BillingTables(
        customers=_customers(metadata, suffix),
        plans=_plans(metadata, suffix),
        subscriptions=_subscriptions(metadata, suffix),
        invoices=_invoices(metadata, suffix),
        lines=_lines(metadata, suffix),
        numbers=_numbers(metadata, suffix),
    )


def _customers(metadata: MetaData, suffix: str) -> Table:
    return Table(
        f"customers{suffix}",
        metadata,
        Column("key", TEXT, primary_key=True),
        Column("display_name", TEXT, nullable=False),
        Column("currency", TEXT, nullable=False),
        Column("time_zone", TEXT, nullable=False),
        Column("created_at_us", BigInteger, nullable=False),
    )


def _plans(metadata: MetaData, suffix: str) -> Table:
    return Table(
        f"plans{suffix}",
        metadata,
        Column("key", TEXT, primary_key=True),
        Column("version", Integer, primary_key=True),
        Column("content", LargeBinary, nullable=False),
    )


def _subscriptions(metadata: MetaData, suffix: str) -> Table:
    """`next_period_at_us` is the start of the first billing period without an invoice, NULL when none is left."""
    return Table(
        f"subscriptions{suffix}",
        metadata,
        Column("key", TEXT, primary_key=True),
        Column("customer", TEXT, nullable=False),
        Column("plan", TEXT, nullable=False),
        Column("plan_version", Integer, nullable=False),
        Column("start_at_us", BigInteger, nullable=False),
        Column("end_at_us", BigInteger),
        Column("created_at_us", BigInteger, nullable=False),
        Column("next_period_at_us", BigInteger),
        Index(f"subscriptions_next_period{suffix}", "next_period_at_us", "key"),
        Index(f"subscriptions_customer{suffix}", "customer", "key"),
    )


def _invoices(metadata: MetaData, suffix: str) -> Table:
    """`number`, `total` and `usage_position` are empty or 0, `finalized_at_us` is NULL while it is a draft."""
    return Table(
        f"invoices{suffix}",
        metadata,
        Column("id", TEXT, primary_key=True),
        Column("customer", TEXT, nullable=False),
        Column("subscription", TEXT, nullable=False),
        Column("plan", TEXT, nullable=False),
        Column("plan_version", Integer, nullable=False),
        Column("currency", TEXT, nullable=False),
        Column("period_start_us", BigInteger, nullable=False),
        Column("period_end_us", BigInteger, nullable=False),
        Column("number", TEXT, nullable=False),
        Column("total", TEXT, nullable=False),
        Column("usage_position", BigInteger, nullable=False, info=apart(Apart.PLACE)),
        Column("finalized_at_us", BigInteger),
        Index(f"invoices_period{suffix}", "period_start_us", "customer", "id"),
        Index(f"invoices_customer{suffix}", "customer", "period_start_us", "id"),
        Index(f"invoices_open{suffix}", "number", "period_end_us", "id"),
    )


def _lines(metadata: MetaData, suffix: str) -> Table:
    """`content` is the stored line, InvoicedLine."""
    return Table(
        f"invoice_lines{suffix}",
        metadata,
        Column("invoice", TEXT, primary_key=True),
        Column("line", Integer, primary_key=True),
        Column("content", LargeBinary, nullable=False),
    )


def _numbers(metadata: MetaData, suffix: str) -> Table:
    return Table(
        f"invoice_numbers{suffix}",
        metadata,
        Column("series", TEXT, primary_key=True),
        Column("version", Integer, primary_key=True),
        Column("invoice", TEXT, nullable=False),
        Column("number", TEXT, nullable=False),
        Index(f"invoice_numbers_invoice{suffix}", "invoice"),
    )
