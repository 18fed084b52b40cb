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
from services.kernel.clock import SimulatedClock
from services.kernel.errors import TimedOut, Unavailable
from services.rating.subscription import subscription_stream
from services.rating.worker import ABSENCES_IN_A_ROW_MAX, BillingWorker
from tests.rating_room import WAIT_S, RatingRoom, assigned_in_log, at, bill_with, numbers_in_log, open_room

AWAY = Unavailable("the aggregator is away")


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


def test_books_that_lag_bill_nothing(room: RatingRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.rating.worker.CATCH_UP_TIMEOUT_S", 0.05)
    room.subscribed("acme")
    room.books.stop(WAIT_S)
    cancelled = SubscriptionCancelled(key="acme-sub", end_at=at("2024-01-01"), cancelled_at=at("2024-01-01"))
    stream = subscription_stream("acme-sub")
    room.store.append(stream, [encode(cancelled, stream, 1, room.clock.now())], 0)
    with pytest.raises(TimedOut):
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
