"""Invoices as the rating service answers them, in Python's own types: exact decimals, aware datetimes."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from meterlog.client.errors import WrongValue
from meterlog.client.instant import instant_of
from meterlog.client.question import Pages, invoice_question
from meterlog.rating.v1 import rating_pb2

INVOICES_PER_PAGE = 100

_STATES = {
    "any": rating_pb2.INVOICE_STATE_UNSPECIFIED,
    "draft": rating_pb2.INVOICE_STATE_DRAFT,
    "finalized": rating_pb2.INVOICE_STATE_FINALIZED,
}


@dataclass(frozen=True, slots=True)
class LineItem:
    """One line of an invoice; `meter` is empty for a flat line."""

    price: str
    description: str
    meter: str
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Invoice:
    """What a customer owes for one billing period; `number` is empty and `lines` may be while it is a draft."""

    id: str
    number: str
    state: str
    customer: str
    currency: str
    period_start_at: datetime
    period_end_at: datetime
    lines: tuple[LineItem, ...]
    total: Decimal | None


def invoices(customer: str, state: str) -> Pages[Invoice]:
    """The question for invoices; raises WrongValue."""
    if state not in _STATES:
        raise WrongValue(f'state is "{state}"; use one of {", ".join(_STATES)}')
    request = rating_pb2.ListInvoicesRequest(customer=customer, state=_STATES[state], page_size=INVOICES_PER_PAGE)
    response = rating_pb2.ListInvoicesResponse
    return Pages(
        invoice_question("ListInvoices", request, response, lambda page: tuple(map(invoice_of, page.invoices)))
    )


def invoice_of(invoice: rating_pb2.Invoice) -> Invoice:
    """The invoice in Python's own types."""
    return Invoice(
        id=invoice.id,
        number=invoice.number,
        state=rating_pb2.InvoiceState.Name(invoice.state).removeprefix("INVOICE_STATE_").lower(),
        customer=invoice.customer,
        currency=invoice.currency,
        period_start_at=instant_of(invoice.period_start_at),
        period_end_at=instant_of(invoice.period_end_at),
        lines=tuple(map(_line_of, invoice.lines)),
        total=Decimal(invoice.total) if invoice.total else None,
    )


def _line_of(line: rating_pb2.LineItem) -> LineItem:
    return LineItem(
        line.price, line.description, line.meter, Decimal(line.quantity or "0"), Decimal(line.amount or "0")
    )
