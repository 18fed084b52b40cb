"""Reads invoices with their lines, and the numbers of a series."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, Select, func, select, tuple_

from meterlog.events.v1.invoice_pb2 import InvoicedLine
from services.eventstore.event import BEGINNING, Position
from services.kernel.calendar import Span
from services.kernel.clock import epoch_us, from_epoch_us
from services.rating.invoice import Invoice
from services.rating.numbering import KnownNumbers
from services.rating.readmodel.tables import BillingTables

InvoiceKey: TypeAlias = tuple[int, str, str]
"""Where an invoice stands in lists: start of its period in epoch microseconds, customer, id."""


class InvoiceFilter(StrEnum):
    """Which invoices a list shows."""

    ALL = "all"
    DRAFT = "draft"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class InvoiceRecord:
    """An invoice with its amounts; those of a draft are empty until they are rated."""

    invoice: Invoice
    lines: tuple[InvoicedLine, ...] = ()
    total: str = ""
    usage_position: Position = BEGINNING
    finalized_at: datetime | None = None

    @property
    def key(self) -> InvoiceKey:
        """Its place in lists."""
        return (epoch_us(self.invoice.period.start), self.invoice.customer, self.invoice.id)


def find_invoice(connection: Connection, tables: BillingTables, identifier: str) -> InvoiceRecord | None:
    """The invoice with this id."""
    row = connection.execute(select(tables.invoices).where(tables.invoices.c.id == identifier)).first()
    if row is None:
        return None
    return replace(_record(row), lines=_lines(connection, tables, [identifier]).get(identifier, ()))


def list_invoices(
    connection: Connection,
    tables: BillingTables,
    *,
    customer: str,
    shown: InvoiceFilter,
    after: InvoiceKey | None,
    limit: int,
) -> Iterator[InvoiceRecord]:
    """Up to `limit` invoices behind `after`, by period, customer and id; an empty customer stands for all."""
    rows = connection.execute(_page(tables, customer, shown, after).limit(limit)).all()
    lines = _lines(connection, tables, [row.id for row in rows])
    return (replace(_record(row), lines=lines.get(row.id, ())) for row in rows)


def known_numbers(connection: Connection, tables: BillingTables, series: str, invoice_id: str) -> KnownNumbers:
    """The invoice's number in any series, and how many events of this series are folded."""
    numbers = tables.numbers
    number = connection.execute(select(numbers.c.number).where(numbers.c.invoice == invoice_id)).scalar()
    newest = connection.execute(select(func.max(numbers.c.version)).where(numbers.c.series == series)).scalar()
    return KnownNumbers(number or "", 0 if newest is None else newest + 1)


def invoice_of(row: Row[Any]) -> Invoice:
    """The invoice in a row of its table."""
    return Invoice(
        id=row.id,
        customer=row.customer,
        subscription=row.subscription,
        plan=row.plan,
        plan_version=row.plan_version,
        currency=row.currency,
        period=Span(from_epoch_us(row.period_start_us), from_epoch_us(row.period_end_us)),
        number=row.number,
    )


def _page(
    tables: BillingTables, customer: str, shown: InvoiceFilter, after: InvoiceKey | None
) -> Select[tuple[Any, ...]]:
    invoices = tables.invoices
    key = (invoices.c.period_start_us, invoices.c.customer, invoices.c.id)
    query = select(invoices).order_by(*key)
    if customer:
        query = query.where(invoices.c.customer == customer)
    if shown is InvoiceFilter.DRAFT:
        query = query.where(invoices.c.number == "")
    if shown is InvoiceFilter.FINAL:
        query = query.where(invoices.c.number != "")
    return query if after is None else query.where(tuple_(*key) > after)


def _lines(
    connection: Connection, tables: BillingTables, invoices: Collection[str]
) -> dict[str, tuple[InvoicedLine, ...]]:
    lines = tables.lines
    query = select(lines).where(lines.c.invoice.in_(invoices)).order_by(lines.c.invoice, lines.c.line)
    found: dict[str, tuple[InvoicedLine, ...]] = {}
    for row in connection.execute(query):
        found[row.invoice] = (*found.get(row.invoice, ()), InvoicedLine.FromString(row.content))
    return found


def _record(row: Row[Any]) -> InvoiceRecord:
    return InvoiceRecord(
        invoice=invoice_of(row),
        total=row.total,
        usage_position=Position(row.usage_position),
        finalized_at=None if row.finalized_at_us is None else from_epoch_us(row.finalized_at_us),
    )
