"""Bills one period: drafts its invoice, rates its usage so far, finalizes it once the period is over.

Each step may be repeated, by anybody and after any crash: a period has one invoice, and an invoice one number.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.eventstore.decider import Outcome, handle
from services.eventstore.event import BEGINNING, Position
from services.eventstore.store import EventStore
from services.kernel.calendar import time_zone
from services.kernel.errors import Unavailable
from services.projection.runner import ProjectionRunner
from services.rating.billing_period import invoice_id, period_from
from services.rating.invoice import (
    DraftInvoice,
    FinalizeInvoice,
    Invoice,
    InvoiceEvent,
    InvoiceState,
    invoice,
    invoice_stream,
    require_over,
)
from services.rating.numbering import assign_number
from services.rating.plan import Plan
from services.rating.plan_stream import no_plan
from services.rating.rate import RatedUsage, rate
from services.rating.readmodel.catalogue import find_plan
from services.rating.readmodel.due import DuePeriod
from services.rating.readmodel.invoices import known_numbers
from services.rating.readmodel.tables import BillingTables
from services.rating.usage_reader import UsageReader


@dataclass(frozen=True, slots=True)
class Rated:
    """Usage of a period with its price, and the log position that it counts up to."""

    usage: RatedUsage
    position: Position


@dataclass(frozen=True, slots=True)
class Billing:
    """The steps of billing a period. `series` names the invoice numbers, `grace` is how long late usage counts."""

    store: EventStore
    books: ProjectionRunner[BillingTables]
    usage: UsageReader
    series: str
    grace: timedelta

    def draft(self, due: DuePeriod, now: datetime) -> Outcome[InvoiceState, InvoiceEvent]:
        """Open the invoice of a period that has begun; raises RuleViolated like `finalize`."""
        self.books.require_whole()
        subscription = due.subscription
        period = period_from(due.start_at, time_zone(due.time_zone))
        drafted = Invoice(
            id=invoice_id(subscription.key, period.start),
            customer=subscription.customer,
            subscription=subscription.key,
            plan=subscription.plan,
            plan_version=subscription.plan_version,
            currency=due.currency,
            period=period,
        )
        return handle(self.store, invoice, invoice_stream(drafted.id), DraftInvoice(drafted, now), now)

    def rate_so_far(self, draft: Invoice, timeout_s: float) -> Rated:
        """Rate what has been recorded of a period until now."""
        return self._rate(draft, BEGINNING, timeout_s)

    def finalize(self, draft: Invoice, now: datetime, timeout_s: float) -> Outcome[InvoiceState, InvoiceEvent]:
        """Rate the whole period, number the invoice, and fix both.

        `now` was read before the call, so that all that was recorded until then is counted in. Nothing is written
        unless the usage could be read, and both usage and books are of the log as it stands now. Raises PeriodIsOpen,
        Unavailable, TimedOut, and RuleViolated: EVENTS_PARKED while the books lack events that this release does not
        know, of which one may end the subscription; LOG_REWOUND when they are of another log.
        """
        self.books.require_whole()
        require_over(draft, self.grace, now)
        head = self.store.head().position
        rated = self._rate(draft, head, timeout_s)
        self._require_in_log(rated)
        number = self._number(draft.id, head, now, timeout_s)
        command = FinalizeInvoice(draft.id, number, rated.usage, rated.position, self.grace, now)
        return handle(self.store, invoice, invoice_stream(draft.id), command, now)

    def _require_in_log(self, rated: Rated) -> None:
        """Usage that counts up to behind the log's end was counted in another log: this one is older, or was cut."""
        head = self.store.head().position
        if rated.position > head:
            raise Unavailable(
                f"usage is counted up to {rated.position}, behind the log's end, {head}: the aggregator counts "
                "in another log, or this one was restored; nothing is invoiced until both have the right log",
                reason="LOG_REWOUND",
            )

    def _rate(self, draft: Invoice, min_position: Position, timeout_s: float) -> Rated:
        plan = self._plan(draft)
        read = self.usage.usage(plan.meters, draft.customer, draft.period, min_position, timeout_s)
        return Rated(rate(plan, read.quantities), read.position)

    def _plan(self, draft: Invoice) -> Plan:
        with self.books.read() as (connection, tables):
            published = find_plan(connection, tables, draft.plan, draft.plan_version)
        if published is None:
            raise no_plan(draft.plan)
        return published.plan

    def _number(self, identifier: str, head: Position, now: datetime, timeout_s: float) -> str:
        """Every number up to `head` is known from the books, whatever its series; later ones from the series' tail."""
        self.books.wait_for(head, timeout_s)
        self.books.require_whole()
        with self.books.read() as (connection, tables):
            known = known_numbers(connection, tables, self.series, identifier)
        return assign_number(self.store, self.series, identifier, known, now)
