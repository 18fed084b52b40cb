"""The facts of the log that are announced: event type to message type and content, in one table.

Decimals are text as stored, instants RFC 3339 in UTC. A type has one schema; fields are only ever added.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.events.v1.invoice_pb2 import InvoicedLine, InvoiceDrafted, InvoiceFinalized
from meterlog.events.v1.meter_pb2 import RestatedTotal, UsagePeriodClosed, UsagePeriodRestated
from services.kernel.timestamp import from_timestamp

INVOICE_DRAFTED = "invoice.drafted"
INVOICE_FINALIZED = "invoice.finalized"
USAGE_PERIOD_CLOSED = "usage.period.closed"
USAGE_PERIOD_RESTATED = "usage.period.restated"
MESSAGE_TYPES = (INVOICE_DRAFTED, INVOICE_FINALIZED, USAGE_PERIOD_CLOSED, USAGE_PERIOD_RESTATED)

_UTC = "UTC"

FACT_CATEGORIES = frozenset({"invoice", "period"})
"""Categories of the streams that hold the facts."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a fact says to the world: its type, when it occurred, and the JSON value under "data"."""

    type: str
    occurred_at: datetime
    content: dict[str, Any]


def instant_text(instant: datetime) -> str:
    """RFC 3339 in UTC, such as 2024-02-01T00:00:00Z; a fraction only where there is one."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def invoice_drafted(fact: Message) -> Announcement:
    """An invoice was opened for a billing period; it has no amounts yet."""
    assert isinstance(fact, InvoiceDrafted)
    content = {
        "id": fact.id,
        "customer": fact.customer,
        "subscription": fact.subscription,
        "plan": fact.plan,
        "plan_version": fact.plan_version,
        "currency": fact.currency,
        "period_start_at": _text(fact.period_start_at),
        "period_end_at": _text(fact.period_end_at),
        "drafted_at": _text(fact.drafted_at),
    }
    return Announcement(INVOICE_DRAFTED, from_timestamp(fact.drafted_at), content)


def invoice_finalized(fact: Message) -> Announcement:
    """An invoice is final: the whole of it, so that the receiver needs no call back."""
    assert isinstance(fact, InvoiceFinalized)
    content = {
        "id": fact.id,
        "number": fact.number,
        "customer": fact.customer,
        "subscription": fact.subscription,
        "currency": fact.currency,
        "period_start_at": _text(fact.period_start_at),
        "period_end_at": _text(fact.period_end_at),
        "lines": [_line(line) for line in fact.lines],
        "total": fact.total,
        "usage_position": fact.usage_position,
        "finalized_at": _text(fact.finalized_at),
    }
    return Announcement(INVOICE_FINALIZED, from_timestamp(fact.finalized_at), content)


def usage_period_closed(fact: Message) -> Announcement:
    """The usage of one customer in one period that is over."""
    assert isinstance(fact, UsagePeriodClosed)
    content = {
        "customer": fact.subject,
        "period": fact.period,
        "period_start_at": _text(fact.start_at),
        "period_end_at": _text(fact.end_at),
        "totals": [{"meter": total.meter, "quantity": total.quantity} for total in fact.totals],
        "usage_position": fact.position,
        "closed_at": _text(fact.closed_at),
        "time_zone": fact.time_zone or _UTC,
    }
    return Announcement(USAGE_PERIOD_CLOSED, from_timestamp(fact.closed_at), content)


def usage_period_restated(fact: Message) -> Announcement:
    """The usage of a closed period changed: the totals that did, before and now (null: none)."""
    assert isinstance(fact, UsagePeriodRestated)
    content = {
        "customer": fact.subject,
        "period": fact.period,
        "period_start_at": _text(fact.start_at),
        "period_end_at": _text(fact.end_at),
        "time_zone": fact.time_zone or _UTC,
        "restatement": fact.restatement,
        "totals": [_restated_total(total) for total in fact.totals],
        "previous_usage_position": fact.previous_position,
        "usage_position": fact.position,
        "restated_at": _text(fact.restated_at),
    }
    return Announcement(USAGE_PERIOD_RESTATED, from_timestamp(fact.restated_at), content)


ANNOUNCED: dict[str, Callable[[Message], Announcement]] = {
    "InvoiceDrafted": invoice_drafted,
    "InvoiceFinalized": invoice_finalized,
    "UsagePeriodClosed": usage_period_closed,
    "UsagePeriodRestated": usage_period_restated,
}


def _line(line: InvoicedLine) -> dict[str, Any]:
    """`meter` is null for a flat line."""
    return {
        "price": line.price,
        "description": line.description,
        "meter": line.meter or None,
        "quantity": line.quantity,
        "amount": line.amount,
    }


def _restated_total(total: RestatedTotal) -> dict[str, Any]:
    return {
        "meter": total.meter,
        "old_quantity": total.old_quantity or None,
        "new_quantity": total.new_quantity or None,
    }


def _text(timestamp: Timestamp) -> str:
    return instant_text(from_timestamp(timestamp))
