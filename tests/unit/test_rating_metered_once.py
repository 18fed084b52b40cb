"""The usage of a meter is billed once: no two subscriptions of a customer price it at the same time."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from threading import Barrier

import pytest

from meterlog.rating.v1 import rating_pb2
from services.kernel.errors import RuleViolated, TimedOut
from services.kernel.money import currency
from services.rating.metered_once import Priced, require_metered_once
from services.rating.plan import Charge, ChargeModel, Plan, Price
from services.rating.subscription import Subscription
from tests.rating_room import WAIT_S, RatingRoom, at, flat, open_room, per_request

JANUARY, FEBRUARY, MARCH, APRIL = (datetime(2024, month, 1, tzinfo=UTC) for month in (1, 2, 3, 4))


def plan(*meters: str) -> Plan:
    charge = Charge(ChargeModel.PER_UNIT, Decimal(1))
    flat_price = Price("platform", "", "", Charge(ChargeModel.FLAT, Decimal(20)))
    return Plan("p", "", currency("USD"), (flat_price, *(Price(meter, "", meter, charge) for meter in meters)))


def running(start: datetime, end: datetime | None, *meters: str) -> Priced:
    return Priced(Subscription("other", "acme", "p", 1, start, end, start), plan(*meters))


@pytest.mark.parametrize(
    "other",
    [
        running(JANUARY, None, "requests"),
        running(MARCH, None, "requests"),
        running(JANUARY, MARCH, "requests"),
        running(MARCH, APRIL, "tokens", "requests"),
    ],
)
def test_a_meter_that_is_billed_at_the_same_time_is_refused_by_name(other: Priced) -> None:
    with pytest.raises(RuleViolated, match='subscription "other" bills the meter "requests"') as refusal:
        require_metered_once(plan("requests"), FEBRUARY, [running(JANUARY, None, "storage"), other])
    assert refusal.value.reason == "METER_ALREADY_BILLED"
    assert refusal.value.metadata == {"subscription": "other", "meter": "requests"}


@pytest.mark.parametrize(
    "other",
    [
        running(JANUARY, FEBRUARY, "requests"),
        running(MARCH, MARCH, "requests"),
        running(JANUARY, None, "tokens"),
        running(JANUARY, None),
    ],
)
def test_other_times_other_meters_and_flat_prices_go_beside_each_other(other: Priced) -> None:
    require_metered_once(plan("requests"), FEBRUARY, [other])


@pytest.fixture
def room(tmp_path: Path) -> Iterator[RatingRoom]:
    with open_room(tmp_path) as opened:
        opened.plan()
        opened.plan(flat("5"), key="support")
        opened.customer("acme")
        opened.customer("beta")
        yield opened


def subscribe(
    room: RatingRoom, key: str, start: str = "2024-01-01", customer: str = "acme", plan: str = "start"
) -> rating_pb2.Subscription:
    wanted = rating_pb2.Subscription(key=key, customer=customer, plan=plan, start_at=at(start))
    return room.subscriptions.create(rating_pb2.CreateSubscriptionRequest(subscription=wanted), WAIT_S).subscription


def refused(room: RatingRoom, key: str, start: str) -> None:
    with pytest.raises(RuleViolated) as refusal:
        subscribe(room, key, start)
    assert refusal.value.reason == "METER_ALREADY_BILLED"


def test_a_customer_subscribes_to_a_meter_once_and_to_flat_plans_as_often_as_it_likes(room: RatingRoom) -> None:
    first = subscribe(room, "first")
    refused(room, "second", "2024-01-01")
    refused(room, "second", "2024-07-01")
    refused(room, "second", "2023-12-01")
    subscribe(room, "support-1", plan="support")
    subscribe(room, "support-2", plan="support")
    subscribe(room, "of-another-customer", customer="beta")
    assert subscribe(room, "first") == first


def test_after_a_cancellation_the_next_subscription_starts_where_the_first_ends_and_not_before(
    room: RatingRoom,
) -> None:
    first = subscribe(room, "first")
    room.advance("2024-02-10")
    room.subscriptions.cancel(rating_pb2.CancelSubscriptionRequest(key="first"), WAIT_S)
    refused(room, "second", "2024-02-01")
    second = subscribe(room, "second", "2024-03-01")
    assert subscribe(room, "second", "2024-03-01") == second
    assert subscribe(room, "first").key == first.key


def test_every_hour_of_usage_is_billed_once_when_a_customer_changes_plans(room: RatingRoom) -> None:
    room.plan(flat("99"), per_request("1"), key="large")
    subscribe(room, "first")
    room.record("acme", "requests", "2024-02-10", "500")
    room.advance("2024-02-10")
    room.subscriptions.cancel(rating_pb2.CancelSubscriptionRequest(key="first"), WAIT_S)
    subscribe(room, "second", "2024-03-01", plan="large")
    room.advance("2024-04-02")
    room.bill()
    lines = [line for invoice in room.listed() for line in invoice.lines if line.meter == "requests"]
    assert [line.quantity for line in lines] == ["0", "500", "0"]


def test_of_many_that_subscribe_at_once_one_gets_the_meter(room: RatingRoom) -> None:
    callers = 6
    together = Barrier(callers)

    def reason_of(number: int) -> str:
        together.wait(WAIT_S)
        try:
            subscribe(room, f"sub-{number}")
        except RuleViolated as refusal:
            return refusal.reason
        return ""

    with ThreadPoolExecutor(callers) as threads:
        reasons = sorted(threads.map(reason_of, range(callers)))
    assert reasons == ["", *["METER_ALREADY_BILLED"] * (callers - 1)]


def test_who_waits_for_its_turn_waits_no_longer_than_its_call(room: RatingRoom) -> None:
    request = rating_pb2.CreateSubscriptionRequest(
        subscription=rating_pb2.Subscription(key="first", customer="acme", plan="start", start_at=at("2024-01-01"))
    )
    with room.subscriptions.turn.taken(WAIT_S), pytest.raises(TimedOut):
        room.subscriptions.create(request, 0.01)
    assert subscribe(room, "first").key == "first"
