"""Invoices as they are listed, and one invoice as a person reads it."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import grpc
from google.protobuf.json_format import MessageToDict
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from meterlog.rating.v1 import rating_pb2 as rating
from services.cli.connection import Services
from services.cli.failure import CommandFailed
from services.cli.paging import PAGE_SIZE, every_page
from services.cli.refusal import CallFailed
from services.kernel.calendar import Span
from services.kernel.timestamp import from_timestamp


def list_invoices(
    services: Services, customer: str = "", state: rating.InvoiceState.ValueType = rating.INVOICE_STATE_UNSPECIFIED
) -> list[rating.Invoice]:
    """Invoices by period, customer and id."""

    def fetch(token: str) -> tuple[Iterable[rating.Invoice], str]:
        request = rating.ListInvoicesRequest(customer=customer, state=state, page_size=PAGE_SIZE, page_token=token)
        response = services.rating.call(services.billing.ListInvoices, request)
        return response.invoices, response.next_page_token

    return list(every_page(fetch))


def read_invoice(services: Services, name: str) -> rating.Invoice:
    """The invoice of an id, or of a number such as "INV-000001"; raises CommandFailed when there is none."""
    try:
        return _get(services, name)
    except CallFailed as error:
        if error.code is not grpc.StatusCode.NOT_FOUND:
            raise
    for invoice in list_invoices(services, state=rating.INVOICE_STATE_FINALIZED):
        if invoice.number == name:
            return _get(services, invoice.id)
    raise CommandFailed(
        f'no invoice "{name}"; `meterlog invoices list` shows ids and numbers', reason="INVOICE_NOT_FOUND"
    )


UUID_CHARACTERS: Final = 36


def zone_of(services: Services, customer: str) -> ZoneInfo:
    """The time zone whose calendar the customer's billing periods follow."""
    request = rating.GetCustomerRequest(key=customer)
    return ZoneInfo(services.rating.call(services.billing.GetCustomer, request).customer.time_zone or "UTC")


def invoice_document(invoice: rating.Invoice) -> dict[str, object]:
    """The invoice as a document, with the names of the API."""
    return MessageToDict(invoice, preserving_proto_field_name=True)


def zones_of(services: Services, invoices: Iterable[rating.Invoice]) -> dict[str, ZoneInfo]:
    """`zone_of` each customer that has one of the invoices."""
    return {customer: zone_of(services, customer) for customer in {invoice.customer for invoice in invoices}}


def invoices_table(invoices: Iterable[rating.Invoice], zones: Mapping[str, ZoneInfo]) -> Table:
    """One line an invoice; periods are days of the customer's time zone."""
    table = Table()
    table.add_column("id", overflow="fold", min_width=UUID_CHARACTERS)
    for name in ("number", "customer", "period", "state"):
        table.add_column(name, overflow="fold")
    table.add_column("total", justify="right")
    for invoice in invoices:
        total = f"{invoice.total} {invoice.currency}" if invoice.total else "–"
        period = _period_text(_period(invoice), zones[invoice.customer])
        table.add_row(invoice.id, invoice.number or "–", invoice.customer, period, _state(invoice), total)
    return table


def invoice_page(invoice: rating.Invoice, zone: ZoneInfo) -> Panel:
    """The invoice as a person reads it: who, what for, each line with how its amount came about, the total."""
    heading = Table.grid(padding=(0, 2))
    heading.add_row("Customer", invoice.customer)
    heading.add_row("Period", f"{_period_text(_period(invoice), zone)} ({zone.key})")
    heading.add_row("Plan", f"{invoice.plan}, version {invoice.plan_version}")
    heading.add_row("State", _state(invoice))
    content: list[RenderableType] = [heading, Text(), _lines(invoice)]
    return Panel(Group(*content), title=f"Invoice {invoice.number or '(draft)'}", title_align="left", expand=False)


def _get(services: Services, invoice_id: str) -> rating.Invoice:
    return services.rating.call(services.billing.GetInvoice, rating.GetInvoiceRequest(id=invoice_id)).invoice


def _lines(invoice: rating.Invoice) -> Table:
    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("Item", footer="Total")
    table.add_column("Quantity", justify="right")
    table.add_column("Unit amount", justify="right")
    table.add_column("Amount", justify="right", footer=f"{invoice.total} {invoice.currency}")
    for line in invoice.lines:
        table.add_row(Text(line.description or line.price, "bold"), line.quantity, "", Text(line.amount, "bold"))
        for step in line.steps if line.meter else ():
            step_row = (f"  {step.description}", step.quantity, step.unit_amount, step.amount)
            table.add_row(*(Text(cell, "dim") for cell in step_row))
    return table


def _period(invoice: rating.Invoice) -> Span:
    return Span(from_timestamp(invoice.period_start_at), from_timestamp(invoice.period_end_at))


def _period_text(period: Span, zone: ZoneInfo) -> str:
    last = period.end - timedelta(microseconds=1)
    return f"{_day(period.start, zone)} to {_day(last, zone)}"


def _day(instant: datetime, zone: ZoneInfo) -> str:
    local = instant.astimezone(zone)
    return f"{local.day} {local:%B %Y}"


def _state(invoice: rating.Invoice) -> str:
    return rating.InvoiceState.Name(invoice.state).removeprefix("INVOICE_STATE_").lower()
