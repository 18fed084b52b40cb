"""What the services answer to questions, in Python's own types: exact decimals, aware datetimes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.aggregator.v1 import aggregator_pb2
from meterlog.client.errors import WrongValue
from meterlog.client.event import timestamp
from meterlog.rating.v1 import rating_pb2

READ_TIMEOUT_S = 10.0
INVOICES_PER_PAGE = 100

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WINDOWS = {
    "none": aggregator_pb2.WINDOW_NONE,
    "hour": aggregator_pb2.WINDOW_HOUR,
    "day": aggregator_pb2.WINDOW_DAY,
    "month": aggregator_pb2.WINDOW_MONTH,
}
_STATES = {
    "any": rating_pb2.INVOICE_STATE_UNSPECIFIED,
    "draft": rating_pb2.INVOICE_STATE_DRAFT,
    "finalized": rating_pb2.INVOICE_STATE_FINALIZED,
}


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Usage of one window and group; `value` is None where the aggregation has no value without usage."""

    start_at: datetime
    end_at: datetime
    group: Mapping[str, str]
    value: Decimal | None


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


def usage_request(
    meter: str,
    start_at: datetime,
    end_at: datetime,
    subjects: Sequence[str],
    window: str,
    time_zone: str,
    group_by: Sequence[str],
    min_position: int,
) -> aggregator_pb2.QueryUsageRequest:
    """The request for usage; raises WrongType or WrongValue."""
    if window not in _WINDOWS:
        raise WrongValue(f'window is "{window}"; use one of {", ".join(_WINDOWS)}')
    return aggregator_pb2.QueryUsageRequest(
        meter=meter,
        subjects=subjects,
        start_at=timestamp(start_at, "start_at"),
        end_at=timestamp(end_at, "end_at"),
        window=_WINDOWS[window],
        time_zone=time_zone,
        group_by=group_by,
        min_position=min_position,
    )


def usage_rows_of(response: aggregator_pb2.QueryUsageResponse) -> tuple[UsageRow, ...]:
    """The rows, by window, then group."""
    return tuple(
        UsageRow(
            _instant(row.start_at), _instant(row.end_at), dict(row.group), Decimal(row.value) if row.value else None
        )
        for row in response.rows
    )


def invoices_request(customer: str, state: str) -> rating_pb2.ListInvoicesRequest:
    """The request for the first page of invoices; raises WrongValue."""
    if state not in _STATES:
        raise WrongValue(f'state is "{state}"; use one of {", ".join(_STATES)}')
    return rating_pb2.ListInvoicesRequest(customer=customer, state=_STATES[state], page_size=INVOICES_PER_PAGE)


def invoice_of(invoice: rating_pb2.Invoice) -> Invoice:
    """The invoice in Python's own types."""
    return Invoice(
        id=invoice.id,
        number=invoice.number,
        state=rating_pb2.InvoiceState.Name(invoice.state).removeprefix("INVOICE_STATE_").lower(),
        customer=invoice.customer,
        currency=invoice.currency,
        period_start_at=_instant(invoice.period_start_at),
        period_end_at=_instant(invoice.period_end_at),
        lines=tuple(map(_line_of, invoice.lines)),
        total=Decimal(invoice.total) if invoice.total else None,
    )


def _line_of(line: rating_pb2.LineItem) -> LineItem:
    return LineItem(
        line.price, line.description, line.meter, Decimal(line.quantity or "0"), Decimal(line.amount or "0")
    )


def _instant(stamp: Timestamp) -> datetime:
    return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
