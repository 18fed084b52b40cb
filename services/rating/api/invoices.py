"""Requests about invoices."""

from dataclasses import dataclass, replace

from meterlog.rating.v1 import rating_pb2
from services.kernel.errors import InvalidInput, RuleViolated
from services.kernel.money import amount_text
from services.rating.api.conversion import invoice_message
from services.rating.api.page import fitting, invoice_after
from services.rating.billing import Billing
from services.rating.desk import Desk
from services.rating.invoice import no_invoice
from services.rating.readmodel.catalogue import find_subscription
from services.rating.readmodel.invoices import InvoiceFilter, InvoiceRecord, find_invoice, list_invoices
from services.rating.stored_line import stored_line
from services.rpc.pages import encode_token, page_size

_FILTERS = {
    rating_pb2.INVOICE_STATE_UNSPECIFIED: InvoiceFilter.ALL,
    rating_pb2.INVOICE_STATE_DRAFT: InvoiceFilter.DRAFT,
    rating_pb2.INVOICE_STATE_FINALIZED: InvoiceFilter.FINAL,
}


@dataclass(frozen=True, slots=True)
class Invoices:
    """Shows and finalizes invoices."""

    desk: Desk
    billing: Billing

    def get(self, request: rating_pb2.GetInvoiceRequest, timeout_s: float) -> rating_pb2.GetInvoiceResponse:
        """Show one invoice, a draft with what the usage so far comes to."""
        found = self._find(request.id)
        shown = found if found.invoice.is_final else self._rated(found, timeout_s)
        return rating_pb2.GetInvoiceResponse(invoice=invoice_message(shown))

    def list(self, request: rating_pb2.ListInvoicesRequest) -> rating_pb2.ListInvoicesResponse:
        """Show invoices by period, customer and id, drafts without amounts."""
        size, after = page_size(request.page_size), invoice_after(request.page_token)
        shown = _FILTERS.get(request.state)
        if shown is None:
            raise InvalidInput(f"state {request.state} is not known; use one of InvoiceState", field="state")
        with self.desk.books.read() as (connection, tables):
            found = list_invoices(
                connection, tables, customer=request.customer, shown=shown, after=after, limit=size + 1
            )
            page, has_more = fitting(map(invoice_message, found), size)
        token = encode_token(*_place(page[-1])) if has_more else ""
        return rating_pb2.ListInvoicesResponse(invoices=page, next_page_token=token)

    def finalize(
        self, request: rating_pb2.FinalizeInvoiceRequest, timeout_s: float
    ) -> rating_pb2.FinalizeInvoiceResponse:
        """Finalize a draft whose period is over, now."""
        found = self._find(request.id)
        if not found.invoice.is_final:
            self._require_billed(found)
            outcome = self.billing.finalize(found.invoice, self.desk.now(), timeout_s)
            self.desk.settle(outcome.appended, timeout_s)
            found = self._find(request.id)
        return rating_pb2.FinalizeInvoiceResponse(invoice=invoice_message(found))

    def _find(self, identifier: str) -> InvoiceRecord:
        with self.desk.books.read() as (connection, tables):
            found = find_invoice(connection, tables, identifier)
        if found is None:
            raise no_invoice(identifier)
        return found

    def _rated(self, draft: InvoiceRecord, timeout_s: float) -> InvoiceRecord:
        rated = self.billing.rate_so_far(draft.invoice, timeout_s)
        usage = rated.usage
        lines = tuple(stored_line(line, usage.currency) for line in usage.lines)
        total = amount_text(usage.total, usage.currency)
        return replace(draft, lines=lines, total=total, usage_position=rated.position)

    def _require_billed(self, draft: InvoiceRecord) -> None:
        """Refuse a draft of a period that a cancellation, recorded in the same moment, put outside the subscription."""
        with self.desk.books.read() as (connection, tables):
            running = find_subscription(connection, tables, draft.invoice.subscription)
        if running and running.end_at and draft.invoice.period.start >= running.end_at:
            raise RuleViolated(
                f'subscription "{running.key}" ended at {running.end_at.isoformat()}, before the period of invoice '
                f'"{draft.invoice.id}"; it is never billed',
                reason="PERIOD_IS_CANCELLED",
            )


def _place(invoice: rating_pb2.Invoice) -> tuple[int, str, str]:
    start = invoice.period_start_at
    return (start.seconds * 1_000_000 + start.nanos // 1000, invoice.customer, invoice.id)
