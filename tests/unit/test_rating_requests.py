"""What rating answers: repeats, refusals and lists, request by request."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meterlog.rating.v1 import rating_pb2
from services.kernel.errors import (
    AlreadyExists,
    DomainError,
    InvalidInput,
    NotFound,
    RuleViolated,
    Unavailable,
)
from services.rating.invoice import PeriodIsOpen
from tests.databases import DATABASES
from tests.rating_room import WAIT_S, RatingRoom, at, flat, open_room, per_request


@pytest.fixture(params=DATABASES)
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RatingRoom]:
    with open_room(tmp_path, request.param) as opened:
        yield opened


def refused(call: Callable[[], object], error: type[DomainError], reason: str = "", field: str = "") -> None:
    with pytest.raises(error) as refusal:
        call()
    assert not reason or refusal.value.reason == reason
    assert not field or getattr(refusal.value, "field", "") == field


def subscription(**fields: object) -> rating_pb2.CreateSubscriptionRequest:
    wanted = {"key": "acme-sub", "customer": "acme", "plan": "start", "start_at": at("2024-01-01"), **fields}
    return rating_pb2.CreateSubscriptionRequest(subscription=rating_pb2.Subscription(**wanted))  # type: ignore[arg-type]  # the fields, by name


def test_a_customer_is_read_as_it_was_created_with_its_defaults(room: RatingRoom) -> None:
    created = room.customer("Ten ant/ü", time_zone="")
    assert (created.display_name, created.time_zone, created.created_at) == ("Ten ant/ü", "UTC", at("2024-01-01"))
    assert room.customers.get(rating_pb2.GetCustomerRequest(key="Ten ant/ü")).customer == created


def test_creating_twice_is_answered_like_the_first_time_and_appends_nothing(room: RatingRoom) -> None:
    first = (room.customer("acme"), room.plan(), room.subscribe("acme"))
    room.advance("2024-01-02")
    head = room.store.head()
    assert (room.customer("acme"), room.plan(), room.subscribe("acme")) == first
    assert room.store.head() == head


def test_a_taken_key_is_refused(room: RatingRoom) -> None:
    room.subscribed("acme", "beta")
    refused(lambda: room.customer("acme", currency="EUR"), AlreadyExists, "CUSTOMER_EXISTS")
    refused(lambda: room.plan(flat("21")), AlreadyExists, "PLAN_EXISTS")
    refused(lambda: room.subscriptions.create(subscription(customer="beta"), WAIT_S), AlreadyExists)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (rating_pb2.Customer(currency="USD"), "customer.key"),
        (rating_pb2.Customer(key="a\0b", currency="USD"), "customer.key"),
        (rating_pb2.Customer(key="x" * 257, currency="USD"), "customer.key"),
        (rating_pb2.Customer(key="acme"), "customer.currency"),
        (rating_pb2.Customer(key="acme", currency="XXX"), "customer.currency"),
        (rating_pb2.Customer(key="acme", currency="USD", time_zone="Mars/Olympus"), "customer.time_zone"),
        (rating_pb2.Customer(key="acme", currency="USD", time_zone="../etc"), "customer.time_zone"),
        (rating_pb2.Customer(key="acme", currency="USD", display_name="x" * 257), "customer.display_name"),
    ],
)
def test_a_malformed_customer_is_refused_by_field(room: RatingRoom, wanted: rating_pb2.Customer, field: str) -> None:
    request = rating_pb2.CreateCustomerRequest(customer=wanted)
    refused(lambda: room.customers.create(request, WAIT_S), InvalidInput, field=field)


def test_an_update_keeps_what_it_does_not_name_and_an_empty_name_is_the_key(room: RatingRoom) -> None:
    room.customer("acme")
    rename = rating_pb2.UpdateCustomerRequest(key="acme", display_name="Acme Ltd")
    assert room.customers.update(rename, WAIT_S).customer.display_name == "Acme Ltd"
    keep = rating_pb2.UpdateCustomerRequest(key="acme")
    assert room.customers.update(keep, WAIT_S).customer.display_name == "Acme Ltd"
    clear = rating_pb2.UpdateCustomerRequest(key="acme", display_name="")
    assert room.customers.update(clear, WAIT_S).customer.display_name == "acme"


def test_what_is_not_there_is_not_found(room: RatingRoom) -> None:
    refused(lambda: room.customers.get(rating_pb2.GetCustomerRequest(key="no")), NotFound, "CUSTOMER_NOT_FOUND")
    refused(lambda: room.plans.get(rating_pb2.GetPlanRequest(key="no")), NotFound, "PLAN_NOT_FOUND")
    refused(lambda: room.subscriptions.get(rating_pb2.GetSubscriptionRequest(key="no")), NotFound)
    refused(lambda: room.shown("no"), NotFound, "INVOICE_NOT_FOUND")
    cancel = rating_pb2.CancelSubscriptionRequest(key="no")
    refused(lambda: room.subscriptions.cancel(cancel, WAIT_S), NotFound, "SUBSCRIPTION_NOT_FOUND")
    rename = rating_pb2.UpdateCustomerRequest(key="no", display_name="No")
    refused(lambda: room.customers.update(rename, WAIT_S), NotFound, "CUSTOMER_NOT_FOUND")


def test_a_plan_names_only_meters_that_are_in_use(room: RatingRoom) -> None:
    unknown = rating_pb2.Price(key="x", meter="no_such", per_unit=rating_pb2.PerUnitCharge(unit_amount="1"))
    with pytest.raises(NotFound, match=r'plan\.prices\[1\]\.meter: no meter "no_such"') as refusal:
        room.plan(flat("1"), unknown)
    assert refusal.value.metadata == {"field": "plan.prices[1].meter", "meter": "no_such"}
    room.plan(per_request("1"))
    room.usage.archive("requests")
    refused(lambda: room.plan(per_request("1"), key="other"), RuleViolated, "METER_IS_ARCHIVED")
    assert room.plan(per_request("1")).version == 1


def test_versions_of_a_plan_are_each_shown(room: RatingRoom) -> None:
    room.plan()
    wanted = rating_pb2.Plan(key="start", currency="USD", prices=[flat("25")])
    publish = rating_pb2.PublishPlanVersionRequest(plan=wanted)
    assert room.plans.publish(publish, WAIT_S).plan.version == 2
    assert room.plans.publish(publish, WAIT_S).plan.version == 2
    assert room.plan().version == 1
    assert room.plans.get(rating_pb2.GetPlanRequest(key="start")).plan.version == 2
    assert len(room.plans.get(rating_pb2.GetPlanRequest(key="start", version=1)).plan.prices) == 2
    assert [plan.version for plan in room.plans.list(rating_pb2.ListPlansRequest()).plans] == [2]
    for version in (3, -1):
        request = rating_pb2.GetPlanRequest(key="start", version=version)
        refused(lambda request=request: room.plans.get(request), NotFound, "PLAN_VERSION_NOT_FOUND")  # type: ignore[misc]  # the loop's own


@pytest.mark.parametrize(
    ("fields", "error", "reason"),
    [
        ({"customer": ""}, InvalidInput, "INVALID_INPUT"),
        ({"customer": "nobody"}, NotFound, "CUSTOMER_NOT_FOUND"),
        ({"plan": ""}, InvalidInput, "INVALID_INPUT"),
        ({"plan": "nothing"}, NotFound, "PLAN_NOT_FOUND"),
        ({"plan_version": 2}, NotFound, "PLAN_VERSION_NOT_FOUND"),
        ({"plan_version": -1}, NotFound, "PLAN_VERSION_NOT_FOUND"),
        ({"plan": "euro"}, RuleViolated, "CURRENCY_DIFFERS"),
        ({"key": "Acme Sub"}, InvalidInput, "BAD_IDENTIFIER"),
        ({"start_at": None}, InvalidInput, "INVALID_INPUT"),
        ({"start_at": at("2024-01-02")}, InvalidInput, "NOT_A_MONTH_START"),
        ({"start_at": at("0001-01-01")}, InvalidInput, "START_OUT_OF_RANGE"),
    ],
)
def test_a_subscription_that_cannot_be_is_refused(
    room: RatingRoom, fields: dict[str, object], error: type[DomainError], reason: str
) -> None:
    room.customer("acme")
    room.plan()
    room.plan(flat("1"), key="euro", currency="EUR")
    refused(lambda: room.subscriptions.create(subscription(**fields), WAIT_S), error, reason)


def test_a_subscription_without_a_key_gets_one_and_the_newest_version(room: RatingRoom) -> None:
    room.plan()
    room.customer("acme")
    created = room.subscriptions.create(subscription(key=""), WAIT_S).subscription
    assert len(created.key) == 36
    assert created.plan_version == 1
    assert not created.HasField("end_at")
    assert room.subscriptions.get(rating_pb2.GetSubscriptionRequest(key=created.key)).subscription == created


def test_a_cancelled_subscription_shows_its_end_and_keeps_it(room: RatingRoom) -> None:
    room.subscribed("acme")
    cancel = rating_pb2.CancelSubscriptionRequest(key="acme-sub")
    first = room.subscriptions.cancel(cancel, WAIT_S).subscription
    room.advance("2024-05-05")
    assert room.subscriptions.cancel(cancel, WAIT_S).subscription == first
    assert first.end_at == at("2024-02-01")


def test_lists_go_by_key_and_page_by_page(room: RatingRoom) -> None:
    room.subscribed(*(f"tenant-{n}" for n in range(5)))
    seen: list[str] = []
    token = ""
    while True:
        page = room.customers.list(rating_pb2.ListCustomersRequest(page_size=2, page_token=token))
        seen += [customer.key for customer in page.customers]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"tenant-{n}" for n in range(5)]
    listed = room.subscriptions.list(rating_pb2.ListSubscriptionsRequest(customer="tenant-3")).subscriptions
    assert [found.key for found in listed] == ["tenant-3-sub"]
    refused(lambda: room.customers.list(rating_pb2.ListCustomersRequest(page_size=1001)), InvalidInput)


def test_invoices_are_listed_by_period_and_customer_page_by_page(room: RatingRoom) -> None:
    room.subscribed("acme", "beta", "gamma")
    room.advance("2024-03-15")
    room.bill()
    seen: list[tuple[int, str]] = []
    token = ""
    while True:
        page = room.invoices.list(rating_pb2.ListInvoicesRequest(page_size=2, page_token=token))
        seen += [(invoice.period_start_at.seconds, invoice.customer) for invoice in page.invoices]
        token = page.next_page_token
        if not token:
            break
    assert len(seen) == 9
    assert seen == sorted(seen)
    assert {invoice.customer for invoice in room.listed(customer="beta")} == {"beta"}
    refused(lambda: room.listed(state=7), InvalidInput, field="state")


def test_a_draft_shows_what_the_usage_so_far_comes_to(room: RatingRoom) -> None:
    room.subscribed("acme")
    room.record("acme", "requests", "2024-01-10", "2500")
    room.bill()
    (listed,) = room.listed()
    draft = room.shown(listed.id)
    assert (draft.number, draft.total, draft.state) == ("", "25.00", rating_pb2.INVOICE_STATE_DRAFT)
    assert [line.amount for line in draft.lines] == ["20.00", "5.00"]
    room.record("acme", "requests", "2024-01-11", "500")
    assert room.shown(listed.id).total == "26.00"
    room.usage.fail("acme", Unavailable("the aggregator is away"))
    refused(lambda: room.shown(listed.id), Unavailable)


def test_a_draft_is_finalized_on_request_when_its_period_is_over(room: RatingRoom) -> None:
    room.subscribed("acme")
    room.bill()
    request = rating_pb2.FinalizeInvoiceRequest(id=room.listed()[0].id)
    refused(lambda: room.invoices.finalize(request, WAIT_S), PeriodIsOpen, "PERIOD_IS_OPEN")
    room.advance("2024-02-01T01:00")
    final = room.invoices.finalize(request, WAIT_S).invoice
    assert (final.number, final.total) == ("INV-000001", "20.00")
    room.advance("2024-02-05")
    assert room.invoices.finalize(request, WAIT_S).invoice == final == room.shown(request.id)


def test_books_that_do_not_move_are_reported_and_the_command_may_be_repeated(room: RatingRoom) -> None:
    room.books.stop(WAIT_S)
    wanted = rating_pb2.Customer(key="acme", currency="USD")
    request = rating_pb2.CreateCustomerRequest(customer=wanted)
    refused(lambda: room.customers.create(request, 0.01), Unavailable)
    refused(lambda: room.customers.create(request, 0.01), Unavailable)
    assert room.store.head().position == 1
