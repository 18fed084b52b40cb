"""What the events of one batch change in the tables: rows to insert, and values to update, each in log order."""

from dataclasses import dataclass, field

from meterlog.events.v1.catalogue_pb2 import (
    CustomerCreated,
    CustomerUpdated,
    PlanVersionPublished,
    SubscriptionCancelled,
    SubscriptionStarted,
)
from meterlog.events.v1.invoice_pb2 import InvoiceDrafted, InvoiceFinalized, InvoiceNumberAssigned
from services.eventstore.catalogue import decode
from services.eventstore.event import RecordedEvent
from services.projection.row import Row, timestamp_us, unexpected_event


@dataclass(slots=True)
class BillingRows:
    """Rows by what becomes of them. Keys of updates begin with "of_", so that they differ from the columns' names."""

    customers: list[Row] = field(default_factory=list)
    renamed: list[Row] = field(default_factory=list)
    plans: list[Row] = field(default_factory=list)
    subscriptions: list[Row] = field(default_factory=list)
    cancelled: list[Row] = field(default_factory=list)
    invoices: list[Row] = field(default_factory=list)
    billed_until: list[Row] = field(default_factory=list)
    finalized: list[Row] = field(default_factory=list)
    lines: list[Row] = field(default_factory=list)
    numbers: list[Row] = field(default_factory=list)

    def add(self, recorded: RecordedEvent) -> None:
        """Sort one event in."""
        message = decode(recorded)
        match message:
            case CustomerCreated():
                self.customers.append(_customer(message))
            case CustomerUpdated():
                self.renamed.append({"of_key": message.key, "display_name": message.display_name})
            case PlanVersionPublished():
                self.plans.append({"key": message.key, "version": message.version, "content": recorded.payload})
            case SubscriptionStarted():
                self.subscriptions.append(_subscription(message))
            case SubscriptionCancelled():
                self.cancelled.append({"of_key": message.key, "end_at_us": timestamp_us(message.end_at)})
            case InvoiceDrafted():
                self.invoices.append(_invoice(message))
                self.billed_until.append(
                    {"of_key": message.subscription, "until_us": timestamp_us(message.period_end_at)}
                )
            case InvoiceFinalized():
                self.finalized.append(_final(message))
                self.lines.extend(_lines(message))
            case InvoiceNumberAssigned():
                self.numbers.append(_number(recorded, message))
            case _:
                raise unexpected_event(recorded, message)


def _customer(created: CustomerCreated) -> Row:
    return {
        "key": created.key,
        "display_name": created.display_name,
        "currency": created.currency,
        "time_zone": created.time_zone,
        "created_at_us": timestamp_us(created.created_at),
    }


def _subscription(started: SubscriptionStarted) -> Row:
    return {
        "key": started.key,
        "customer": started.customer,
        "plan": started.plan,
        "plan_version": started.plan_version,
        "start_at_us": timestamp_us(started.start_at),
        "end_at_us": None,
        "created_at_us": timestamp_us(started.created_at),
        "next_period_at_us": timestamp_us(started.start_at),
    }


def _invoice(drafted: InvoiceDrafted) -> Row:
    return {
        "id": drafted.id,
        "customer": drafted.customer,
        "subscription": drafted.subscription,
        "plan": drafted.plan,
        "plan_version": drafted.plan_version,
        "currency": drafted.currency,
        "period_start_us": timestamp_us(drafted.period_start_at),
        "period_end_us": timestamp_us(drafted.period_end_at),
        "number": "",
        "total": "",
        "usage_position": 0,
        "finalized_at_us": None,
    }


def _final(finalized: InvoiceFinalized) -> Row:
    return {
        "of_id": finalized.id,
        "number": finalized.number,
        "total": finalized.total,
        "usage_position": finalized.usage_position,
        "finalized_at_us": timestamp_us(finalized.finalized_at),
    }


def _lines(finalized: InvoiceFinalized) -> list[Row]:
    return [
        {"invoice": finalized.id, "line": number, "content": line.SerializeToString(deterministic=True)}
        for number, line in enumerate(finalized.lines)
    ]


def _number(recorded: RecordedEvent, assigned: InvoiceNumberAssigned) -> Row:
    return {
        "series": recorded.stream.id,
        "version": recorded.version,
        "invoice": assigned.invoice_id,
        "number": assigned.number,
    }
