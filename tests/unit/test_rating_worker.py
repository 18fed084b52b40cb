"""The billing worker: every period gets one invoice, in order, whatever crashes, fails or runs beside it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest

from meterlog.rating.v1 import rating_pb2
from services.kernel.clock import SimulatedClock
from services.kernel.errors import RuleViolated, Unavailable
from services.rating.worker import BillingWorker
from tests.rating_room import WAIT_S, RatingRoom, at, bill_with, numbers_in_log, open_room, starts_of, utc

AWAY = Unavailable("the aggregator is away")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[RatingRoom]:
    with open_room(tmp_path) as opened:
        yield opened


def test_a_period_that_has_begun_has_a_draft(room: RatingRoom) -> None:
    room.subscribed("acme")
    room.bill()
    (draft,) = room.listed()
    assert (draft.state, draft.number, list(draft.lines)) == (rating_pb2.INVOICE_STATE_DRAFT, "", [])
    assert (draft.period_start_at, draft.period_end_at) == (at("2024-01-01"), at("2024-02-01"))


def test_a_subscription_of_the_future_has_no_invoice_yet(room: RatingRoom) -> None:
    room.plan()
    room.customer("acme")
    room.subscribe("acme", "2024-02-01")
    room.bill()
    assert room.listed() == []
    room.advance("2024-02-01")
    room.bill()
    assert starts_of(room.listed()) == [utc("2024-02-01")]


def test_a_period_is_invoiced_once_its_grace_is_over_and_not_a_moment_before(room: RatingRoom) -> None:
    room.subscribed("acme")
    room.record("acme", "requests", "2024-01-31T23:59:59", "501")
    room.record("acme", "requests", "2024-02-01", "1000000")
    room.advance("2024-02-01T00:59:59")
    room.bill()
    assert {invoice.number for invoice in room.listed()} == {""}
    room.advance("2024-02-01T01:00:00")
    room.bill()
    (january,) = room.listed(state=rating_pb2.INVOICE_STATE_FINALIZED)
    assert (january.number, january.total) == ("INV-000001", "21.00")
    assert january.finalized_at == at("2024-02-01T01:00:00")
    assert [(line.meter, line.quantity, line.amount) for line in january.lines] == [
        ("", "1", "20.00"),
        ("requests", "501", "1.00"),
    ]


def test_a_clock_that_jumps_three_months_leaves_three_invoices_in_order(room: RatingRoom) -> None:
    room.subscribed("acme", "beta")
    room.advance("2024-04-15")
    room.bill()
    final = room.listed(state=rating_pb2.INVOICE_STATE_FINALIZED)
    assert starts_of(final) == [utc(month) for month in ("2024-01-01", "2024-02-01", "2024-03-01") for _ in range(2)]
    by_number = sorted(final, key=lambda invoice: invoice.number)
    assert [invoice.number for invoice in by_number] == [f"INV-{n:06d}" for n in range(1, 7)]
    assert starts_of(by_number) == starts_of(final)
    assert starts_of(room.listed(state=rating_pb2.INVOICE_STATE_DRAFT)) == [utc("2024-04-01")] * 2


def test_periods_follow_the_customers_calendar_without_gap_or_overlap(room: RatingRoom) -> None:
    room.plan()
    room.customer("acme", time_zone="Europe/Berlin")
    room.subscribe("acme", "2023-12-31T23:00")
    room.advance("2024-12-15")
    room.bill()
    invoices = room.listed()
    assert len(invoices) == 12
    assert all(earlier.period_end_at == later.period_start_at for earlier, later in pairwise(invoices))
    assert starts_of(invoices)[3] == datetime(2024, 3, 31, 22, tzinfo=UTC)


def test_a_second_look_changes_nothing(room: RatingRoom) -> None:
    room.subscribed("acme")
    room.advance("2024-02-02")
    room.bill()
    head = room.store.head()
    assert BillingWorker(room.billing, room.clock).run_round() == 0
    assert room.store.head() == head


def test_a_cancelled_subscription_is_billed_to_the_end_of_its_month_and_not_beyond(room: RatingRoom) -> None:
    room.subscribed("acme")
    room.advance("2024-02-10")
    room.subscriptions.cancel(rating_pb2.CancelSubscriptionRequest(key="acme-sub"), WAIT_S)
    room.advance("2024-06-01")
    room.bill()
    assert starts_of(room.listed()) == [utc("2024-01-01"), utc("2024-02-01")]


def test_a_subscription_cancelled_before_its_start_is_never_billed(room: RatingRoom) -> None:
    room.plan()
    room.customer("acme")
    room.subscribe("acme", "2024-03-01")
    room.subscriptions.cancel(rating_pb2.CancelSubscriptionRequest(key="acme-sub"), WAIT_S)
    room.advance("2024-06-01")
    room.bill()
    assert room.listed() == []


def test_a_draft_that_a_cancellation_came_too_late_for_is_never_billed(room: RatingRoom) -> None:
    room.subscribed("acme")
    bill_with(BillingWorker(room.billing, SimulatedClock(utc("2024-02-01"))))
    room.subscriptions.cancel(rating_pb2.CancelSubscriptionRequest(key="acme-sub"), WAIT_S)
    room.advance("2024-06-01")
    room.bill()
    assert starts_of(room.listed(state=rating_pb2.INVOICE_STATE_FINALIZED)) == [utc("2024-01-01")]
    (stray,) = room.listed(state=rating_pb2.INVOICE_STATE_DRAFT)
    with pytest.raises(RuleViolated) as refusal:
        room.invoices.finalize(rating_pb2.FinalizeInvoiceRequest(id=stray.id), WAIT_S)
    assert refusal.value.reason == "PERIOD_IS_CANCELLED"


def test_a_subscription_keeps_its_plan_version(room: RatingRoom) -> None:
    room.subscribed("acme")
    dearer = rating_pb2.Plan(
        key="start",
        currency="USD",
        prices=[rating_pb2.Price(key="platform", flat=rating_pb2.FlatCharge(amount="99"))],
    )
    room.plans.publish(rating_pb2.PublishPlanVersionRequest(plan=dearer), WAIT_S)
    room.advance("2024-02-02")
    room.bill()
    (january,) = room.listed(state=rating_pb2.INVOICE_STATE_FINALIZED)
    assert (january.plan_version, january.total) == (1, "20.00")


def test_a_running_worker_follows_the_clock(room: RatingRoom) -> None:
    room.subscribed("acme")
    room.worker.start()
    try:
        room.advance("2024-02-02")
        wait_until(lambda: numbers_in_log(room) == ["INV-000001"])
        assert room.worker.is_ready()
        assert room.worker.problem() == ""
    finally:
        room.worker.stop(WAIT_S)
    assert not room.worker.is_ready()


def wait_until(is_reached: Callable[[], bool]) -> None:
    pause = Event()
    for _ in range(500):
        if is_reached():
            return
        pause.wait(0.02)
    raise AssertionError("not reached in time")
