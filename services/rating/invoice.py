"""The rules of an invoice: drafted once for a billing period, finalized once, never changed. Stream: invoice-<id>."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from meterlog.events.v1.invoice_pb2 import InvoiceDrafted, InvoiceFinalized
from services.eventstore.decider import Decider
from services.eventstore.event import Position, StreamName
from services.kernel.calendar import Span
from services.kernel.errors import AlreadyExists, NotFound, RuleViolated
from services.kernel.money import amount_text
from services.kernel.timestamp import from_timestamp, to_timestamp
from services.rating.billing_period import is_over
from services.rating.rate import RatedUsage
from services.rating.stored_line import stored_line

CATEGORY = "invoice"


class InvoiceIsFinal(RuleViolated):
    """The invoice has its number; it never changes."""

    default_reason = "INVOICE_IS_FINAL"


class PeriodIsOpen(RuleViolated):
    """The billing period, or the grace period behind it, still runs."""

    default_reason = "PERIOD_IS_OPEN"


@dataclass(frozen=True, slots=True)
class Invoice:
    """What a customer owes for one billing period. `number` is empty while it is a draft."""

    id: str
    customer: str
    subscription: str
    plan: str
    plan_version: int
    currency: str
    period: Span
    number: str = ""

    @property
    def is_final(self) -> bool:
        """Whether it has its number."""
        return bool(self.number)


@dataclass(frozen=True, slots=True)
class DraftInvoice:
    """Open the invoice of a billing period; a repeat does nothing."""

    invoice: Invoice
    at: datetime


@dataclass(frozen=True, slots=True)
class FinalizeInvoice:
    """Fix number, lines and total; a repeat with the same number does nothing.

    `usage_position` is the log position up to which the rated usage is counted in.
    """

    id: str
    number: str
    rated: RatedUsage
    usage_position: Position
    grace: timedelta
    at: datetime


InvoiceCommand: TypeAlias = DraftInvoice | FinalizeInvoice
InvoiceEvent: TypeAlias = InvoiceDrafted | InvoiceFinalized
InvoiceState: TypeAlias = Invoice | None


def invoice_stream(identifier: str) -> StreamName:
    """The stream of the invoice with this id."""
    return StreamName(CATEGORY, identifier)


def no_invoice(identifier: str) -> NotFound:
    """The refusal of an id that no invoice has."""
    return NotFound(f'no invoice "{identifier}"; check the id', reason="INVOICE_NOT_FOUND")


def require_over(invoice: Invoice, grace: timedelta, now: datetime) -> None:
    """Raise PeriodIsOpen before the end of the billing period and its grace period."""
    if not is_over(invoice.period, grace, now):
        closes_at = invoice.period.end + grace
        raise PeriodIsOpen(
            f'the period of invoice "{invoice.id}" is open until {closes_at.isoformat()}; finalize it after that'
        )


def decide(command: InvoiceCommand, state: InvoiceState) -> list[InvoiceEvent]:
    """The events of a command; raises AlreadyExists, NotFound, InvoiceIsFinal or PeriodIsOpen."""
    match command:
        case DraftInvoice():
            return _draft(command, state)
        case FinalizeInvoice():
            return _finalize(command, state)


def evolve(state: InvoiceState, event: InvoiceEvent) -> InvoiceState:
    """The invoice after an event."""
    if isinstance(event, InvoiceDrafted):
        return Invoice(
            id=event.id,
            customer=event.customer,
            subscription=event.subscription,
            plan=event.plan,
            plan_version=event.plan_version,
            currency=event.currency,
            period=Span(from_timestamp(event.period_start_at), from_timestamp(event.period_end_at)),
        )
    assert state is not None
    return replace(state, number=event.number)


invoice: Decider[InvoiceCommand, InvoiceState, InvoiceEvent] = Decider(None, decide, evolve)


def _draft(command: DraftInvoice, state: InvoiceState) -> list[InvoiceEvent]:
    wanted = command.invoice
    if state is None:
        return [
            InvoiceDrafted(
                id=wanted.id,
                customer=wanted.customer,
                subscription=wanted.subscription,
                plan=wanted.plan,
                plan_version=wanted.plan_version,
                currency=wanted.currency,
                period_start_at=to_timestamp(wanted.period.start),
                period_end_at=to_timestamp(wanted.period.end),
                drafted_at=to_timestamp(command.at),
            )
        ]
    if replace(state, number="") != wanted:
        raise AlreadyExists(f'invoice "{wanted.id}" exists with other content', reason="INVOICE_EXISTS")
    return []


def _finalize(command: FinalizeInvoice, state: InvoiceState) -> list[InvoiceEvent]:
    if state is None:
        raise no_invoice(command.id)
    if state.is_final:
        return _refuse_other_number(command, state)
    require_over(state, command.grace, command.at)
    return [_finalized(command, state)]


def _refuse_other_number(command: FinalizeInvoice, state: Invoice) -> list[InvoiceEvent]:
    if command.number != state.number:
        raise InvoiceIsFinal(f'invoice "{state.id}" is final as {state.number}; it cannot become {command.number}')
    return []


def _finalized(command: FinalizeInvoice, state: Invoice) -> InvoiceFinalized:
    rated = command.rated
    return InvoiceFinalized(
        id=state.id,
        number=command.number,
        lines=[stored_line(line, rated.currency) for line in rated.lines],
        total=amount_text(rated.total, rated.currency),
        usage_position=command.usage_position,
        finalized_at=to_timestamp(command.at),
        customer=state.customer,
        currency=state.currency,
        period_start_at=to_timestamp(state.period.start),
        period_end_at=to_timestamp(state.period.end),
        subscription=state.subscription,
    )
