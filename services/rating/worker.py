"""The billing worker: drafts each billing period that has begun, finalizes each that is over, oldest first.

It looks at the clock every LOOK_S of real time and keeps nothing: what is due follows from the books alone.
"""

import threading
from collections.abc import Callable, Iterator
from typing import TypeAlias

import structlog

from meterlog.events.v1.invoice_pb2 import InvoiceDrafted, InvoiceFinalized
from services.eventstore.decider import Outcome
from services.kernel.clock import Clock, monotonic_s
from services.kernel.errors import DomainError, TimedOut, Unavailable
from services.rating.backoff import Backoff
from services.rating.billing import Billing
from services.rating.due_work import Due, DueWork
from services.rating.invoice import InvoiceEvent, InvoiceState
from services.rating.readmodel.due import DueKey

LOOK_S = 0.2
CATCH_UP_TIMEOUT_S = 5.0
STEP_TIMEOUT_S = 30.0
ATTEMPTS_MAX = 200
"""Drafts of one round, and invoices finalized in it."""
ABSENCES_IN_A_ROW_MAX = 3
"""Then the round ends: a part that is away for so many is probably away for all."""

Step: TypeAlias = Outcome[InvoiceState, InvoiceEvent]

log = structlog.get_logger()


class BillingWorker:
    """Bills in a thread of its own. Any number of workers may run: none does harm to another's work."""

    name = "billing worker"

    def __init__(self, billing: Billing, clock: Clock) -> None:
        self._billing = billing
        self._clock = clock
        self._due = DueWork(billing.books)
        self._drafting = Backoff()
        self._finalizing = Backoff()
        self._problem = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def start(self) -> None:
        """Begin to bill."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Finish the step in hand and stop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def is_ready(self) -> bool:
        """Whether it runs; what fails is tried again and keeps nobody from asking."""
        return self._thread.is_alive()

    def problem(self) -> str:
        """What failed last; empty once nothing is left to be tried again."""
        return self._problem

    def run_round(self) -> int:
        """Draft, then finalize what is due now, within the bounds of a round; returns how many steps succeeded."""
        now = self._clock.now()
        drafted = self._take_steps(self._due.periods(now), lambda due: self._billing.draft(due, now), self._drafting)
        finalized = self._take_steps(
            self._due.invoices(now - self._billing.grace),
            lambda due: self._billing.finalize(due.invoice, now, STEP_TIMEOUT_S),
            self._finalizing,
        )
        if not (self._drafting.is_any_failing() or self._finalizing.is_any_failing()):
            self._problem = ""
        return drafted + finalized

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._guarded_round():
                self._stop.wait(LOOK_S)

    def _guarded_round(self) -> int:
        try:
            return self.run_round()
        except Exception as error:  # noqa: BLE001 (the outermost loop: look again whatever went wrong)
            self._report(error)
            return 0

    def _take_steps(self, dues: Iterator[Due], step: Callable[[Due], Step], backoff: Backoff) -> int:
        """Take the step for each that is due and not left alone; returns how many succeeded."""
        self._catch_up()
        succeeded, absences_in_a_row, attempts = 0, 0, 0
        seen: set[DueKey] = set()
        for due in dues:
            seen.add(due.key)
            if backoff.is_waiting(due.key, monotonic_s()):
                continue
            error = self._attempt(due, step, backoff)
            attempts += 1
            succeeded += error is None
            absences_in_a_row = absences_in_a_row + 1 if isinstance(error, Unavailable | TimedOut) else 0
            if attempts == ATTEMPTS_MAX or absences_in_a_row == ABSENCES_IN_A_ROW_MAX or self._stop.is_set():
                return succeeded
        backoff.keep_only(seen)
        return succeeded

    def _catch_up(self) -> None:
        """Wait until the books show the whole log: books that lag would bill what was cancelled."""
        self._billing.books.wait_for(self._billing.store.head().position, CATCH_UP_TIMEOUT_S)

    def _attempt(self, due: Due, step: Callable[[Due], Step], backoff: Backoff) -> Exception | None:
        """What went wrong, if anything did; one period's failure, whatever it is, stops no other."""
        try:
            outcome = step(due)
        except Exception as error:  # noqa: BLE001 (the outermost loop of one billing period)
            pause_s = backoff.failed(due.key, monotonic_s())
            self._report(error, subscription=due.subscription_key, again_in_s=pause_s)
            return error
        backoff.succeeded(due.key)
        _log_events(outcome.events)
        return None

    def _report(self, error: Exception, **fields: str | float) -> None:
        self._problem = f"billing failed: {error}"
        unforeseen = None if isinstance(error, DomainError) else error
        log.warning("billing failed", error=str(error), exc_info=unforeseen, **fields)


def _log_events(events: tuple[InvoiceEvent, ...]) -> None:
    for event in events:
        match event:
            case InvoiceDrafted():
                log.info("invoice drafted", invoice=event.id, subscription=event.subscription)
            case InvoiceFinalized():
                log.info("invoice finalized", invoice=event.id, number=event.number, total=event.total)
