"""The billing worker when something fails: no invoice is lost or doubled, no number is skipped."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Barrier, Thread

import pytest

from meterlog.events.v1.catalogue_pb2 import SubscriptionCancelled
from meterlog.rating.v1 import rating_pb2
from services.eventstore.catalogue import encode
from services.eventstore.event import Position
from services.kernel.calendar import Span
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Corrupt, Unavailable
from services.rating.billing import Billing
from services.rating.subscription import subscription_stream
from services.rating.usage_in_memory import UsageInMemory
from services.rating.usage_reader import MeterState, UsageRead
from services.rating.worker import ABSENCES_IN_A_ROW_MAX, BillingWorker
from tests.rating_room import (
    GRACE,
    WAIT_S,
    RatingRoom,
    assigned_in_log,
    at,
    bill_with,
    numbers_in_log,
    open_room,
    starts_of,
    utc,
)

AWAY = Unavailable("the aggregator is away")


class UsageWithoutJanuary:
    """A reader for which one period is broken for ever."""

    def __init__(self, usage: UsageInMemory) -> None:
        self._usage = usage

    def usage(
        self, meters: Sequence[str], customer: str, period: Span, min_position: Position, timeout_s: float
    ) -> UsageRead:
        if period.start == utc("2024-01-01"):
            raise Corrupt("January is broken")
        return self._usage.usage(meters, customer, period, min_position, timeout_s)

    def meter_state(self, slug: str, timeout_s: float) -> MeterState:
        return self._usage.meter_state(slug, timeout_s)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[RatingRoom]:
    with open_room(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("event_type", ["InvoiceDrafted", "InvoiceNumberAssigned", "InvoiceFinalized"])
@pytest.mark.parametrize("fault", ["lost", "unanswered"])
def test_a_crash_at_any_append_leaves_one_invoice_each_and_no_gap(
    room: RatingRoom, fault: str, event_type: str
) -> None:
    room.subscribed("acme", "beta")
    getattr(room.store, fault).add(event_type)
    room.advance("2024-02-02")
    room.bill()
    assert room.listed(state=rating_pb2.INVOICE_STATE_FINALIZED) == [] or fault == "unanswered"
    room.store.recover()
    bill_with(BillingWorker(room.billing, room.clock))
    final = room.listed(state=rating_pb2.INVOICE_STATE_FINALIZED)
    assert [invoice.customer for invoice in final] == ["acme", "beta"]
    assert sorted(invoice.number for invoice in final) == numbers_in_log(room) == ["INV-000001", "INV-000002"]


def test_an_invoice_keeps_the_number_that_it_had_before_the_crash(room: RatingRoom) -> None:
    room.subscribed("acme", "beta")
    room.store.lost.add("InvoiceFinalized")
    room.advance("2024-02-02")
    room.bill()
    assert assigned_in_log(room, "INV") == {"acme": "INV-000001", "beta": "INV-000002"}
    room.store.recover()
    room.usage.fail("acme", AWAY)
    bill_with(BillingWorker(room.billing, room.clock))
    room.usage.recover()
    bill_with(BillingWorker(room.billing, room.clock))
    final = room.listed(state=rating_pb2.INVOICE_STATE_FINALIZED)
    assert {invoice.customer: invoice.number for invoice in final} == {"acme": "INV-000001", "beta": "INV-000002"}


def test_a_number_of_an_older_series_is_kept_when_the_series_changed_after_the_crash(room: RatingRoom) -> None:
    room.subscribed("acme")
    room.store.lost.add("InvoiceFinalized")
    room.advance("2024-02-02")
    bill_with(BillingWorker(room.billing_of_series("OLD"), room.clock))
    room.store.recover()
    room.bill()
    (january,) = room.listed(state=rating_pb2.INVOICE_STATE_FINALIZED)
    assert january.number == "OLD-000001"
    assert numbers_in_log(room) == []


@pytest.mark.parametrize("apart", [timedelta(0), timedelta(seconds=1)])
def test_two_workers_at_once_leave_one_invoice_a_period_and_numbers_without_gaps(
    room: RatingRoom, apart: timedelta
) -> None:
    room.subscribed(*(f"tenant-{n}" for n in range(6)))
    room.advance("2024-03-15")
    clocks = [room.clock, SimulatedClock(room.clock.now() + apart)]
    in_parallel([partial(bill_with, BillingWorker(room.billing, clock)) for clock in clocks])
    room.bill()
    final = room.listed(state=rating_pb2.INVOICE_STATE_FINALIZED)
    assert numbers_in_log(room) == [f"INV-{n:06d}" for n in range(1, 13)]
    assert sorted(invoice.number for invoice in final) == numbers_in_log(room)
    assert len({(invoice.customer, invoice.period_start_at.seconds) for invoice in final}) == 12


def test_a_failing_customer_stops_no_other_and_is_billed_after_all(room: RatingRoom) -> None:
    room.subscribed("acme", "beta", "gamma")
    room.usage.fail("acme", AWAY)
    room.advance("2024-02-02")
    room.bill()
    assert [invoice.customer for invoice in room.listed(state=rating_pb2.INVOICE_STATE_FINALIZED)] == ["beta", "gamma"]
    assert "the aggregator is away" in room.worker.problem()
    room.usage.recover()
    bill_with(BillingWorker(room.billing, room.clock))
    assert numbers_in_log(room) == ["INV-000001", "INV-000002", "INV-000003"]


def test_a_period_that_can_never_be_billed_stops_no_later_period_of_the_subscription(room: RatingRoom) -> None:
    room.subscribed("acme")
    room.advance("2024-04-02")
    usage = UsageWithoutJanuary(room.usage)
    worker = BillingWorker(Billing(room.store, room.books, usage, "INV", GRACE), room.clock)
    bill_with(worker)
    final = room.listed(state=rating_pb2.INVOICE_STATE_FINALIZED)
    assert starts_of(final) == [utc("2024-02-01"), utc("2024-03-01")]
    assert starts_of(room.listed(state=rating_pb2.INVOICE_STATE_DRAFT)) == [utc("2024-01-01"), utc("2024-04-01")]
    assert "January is broken" in worker.problem()


def test_what_another_worker_billed_is_no_problem_any_more(room: RatingRoom) -> None:
    room.subscribed("acme")
    room.usage.fail("acme", AWAY)
    room.advance("2024-02-02")
    room.bill()
    assert "the aggregator is away" in room.worker.problem()
    room.usage.recover()
    bill_with(BillingWorker(room.billing, room.clock))
    room.worker.run_round()
    assert room.worker.problem() == ""


def test_what_still_fails_stays_a_problem_when_another_is_billed(room: RatingRoom) -> None:
    room.subscribed("acme", "beta")
    room.usage.fail("acme", AWAY)
    room.advance("2024-02-02")
    room.bill()
    assert numbers_in_log(room) == ["INV-000001"]
    room.worker.run_round()
    assert "the aggregator is away" in room.worker.problem()


def test_nothing_is_numbered_while_usage_cannot_be_read(room: RatingRoom) -> None:
    customers = [f"tenant-{n}" for n in range(ABSENCES_IN_A_ROW_MAX + 2)]
    room.subscribed(*customers)
    for customer in customers:
        room.usage.fail(customer, AWAY)
    room.advance("2024-02-02")
    room.bill()
    assert room.listed(state=rating_pb2.INVOICE_STATE_FINALIZED) == []
    assert numbers_in_log(room) == []


def test_an_unforeseen_failure_of_one_stops_no_other(room: RatingRoom) -> None:
    room.subscribed("acme", "beta")
    room.usage.fail("acme", ZeroDivisionError("unforeseen"))  # type: ignore[arg-type]  # what no contract allows
    room.advance("2024-02-02")
    room.bill()
    assert [invoice.customer for invoice in room.listed(state=rating_pb2.INVOICE_STATE_FINALIZED)] == ["beta"]


def test_books_that_lag_bill_nothing(room: RatingRoom) -> None:
    room.subscribed("acme")
    room.books.stop(WAIT_S)
    cancelled = SubscriptionCancelled(key="acme-sub", end_at=at("2024-01-01"), cancelled_at=at("2024-01-01"))
    stream = subscription_stream("acme-sub")
    room.store.append(stream, [encode(cancelled, stream, 1, room.clock.now())], 0)
    with pytest.raises(Unavailable):
        room.worker.run_round()
    assert room.listed() == []


def in_parallel(works: Sequence[Callable[[], None]]) -> None:
    together = Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        together.wait(WAIT_S)
        work()

    threads = [Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
