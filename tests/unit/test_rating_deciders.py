"""The rules of customers, plans, subscriptions and invoices, as sentences."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from meterlog.events.v1.catalogue_pb2 import (
    CustomerCreated,
    CustomerUpdated,
    SubscriptionCancelled,
    SubscriptionStarted,
)
from meterlog.events.v1.invoice_pb2 import InvoicedLine, InvoiceDrafted, InvoiceFinalized, LineExplanation
from services.eventstore.decider_testing import given
from services.eventstore.event import PAYLOAD_BYTES_MAX, Position
from services.kernel.calendar import Span
from services.kernel.errors import AlreadyExists, NotFound
from services.kernel.money import currency
from services.kernel.quantity import EXACT
from services.kernel.timestamp import to_timestamp
from services.rating.customer import CreateCustomer, RenameCustomer, customer
from services.rating.invoice import DraftInvoice, FinalizeInvoice, Invoice, InvoiceIsFinal, PeriodIsOpen, invoice
from services.rating.plan import (
    PLAN_TIERS_MAX,
    PRICES_MAX,
    TIERS_MAX,
    Charge,
    ChargeModel,
    Plan,
    Price,
    PublishedPlan,
    Tier,
)
from services.rating.plan_stream import CreatePlan, PublishPlanVersion, plan_versions
from services.rating.rate import rate
from services.rating.stored_plan import from_event, to_event
from services.rating.subscription import CancelSubscription, StartSubscription, subscription

NOW = datetime(2024, 2, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=3)
JANUARY = Span(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC))
GRACE = timedelta(hours=1)
BERLIN = ZoneInfo("Europe/Berlin")

create_acme = CreateCustomer("acme", "Acme", "USD", "UTC", NOW)
acme_created = CustomerCreated(
    key="acme", display_name="Acme", currency="USD", time_zone="UTC", created_at=to_timestamp(NOW)
)
PLAN = Plan(
    "start",
    "Start",
    currency("USD"),
    (
        Price("platform", "Platform", "", Charge(ChargeModel.FLAT, amount=Decimal(20))),
        Price(
            "requests",
            "Requests",
            "requests",
            Charge(
                ChargeModel.GRADUATED,
                tiers=(Tier(Decimal(500), Decimal(0)), Tier(None, Decimal("0.002"), Decimal("0.5"))),
            ),
        ),
        Price("tokens", "Tokens", "tokens", Charge(ChargeModel.PACKAGE, Decimal("0.0125"), Decimal(1000))),
    ),
)
CHEAPER = replace(PLAN, prices=PLAN.prices[1:])
version_1, version_2 = to_event(PublishedPlan(PLAN, 1, NOW)), to_event(PublishedPlan(CHEAPER, 2, NOW))
start = StartSubscription("acme-sub", "acme", "start", 1, False, JANUARY.start, NOW)
started = SubscriptionStarted(
    key="acme-sub",
    customer="acme",
    plan="start",
    plan_version=1,
    start_at=to_timestamp(JANUARY.start),
    created_at=to_timestamp(NOW),
)
DRAFT = Invoice("i-1", "acme", "acme-sub", "start", 1, "USD", JANUARY)
drafted = InvoiceDrafted(
    id="i-1",
    customer="acme",
    subscription="acme-sub",
    plan="start",
    plan_version=1,
    currency="USD",
    period_start_at=to_timestamp(JANUARY.start),
    period_end_at=to_timestamp(JANUARY.end),
    drafted_at=to_timestamp(NOW),
)
finalize = FinalizeInvoice(
    "i-1", "INV-000001", rate(PLAN, {"requests": Decimal(501), "tokens": Decimal(1)}), Position(7), GRACE, NOW
)
finalized = InvoiceFinalized(
    id="i-1",
    number="INV-000001",
    lines=[
        InvoicedLine(
            price="platform",
            description="Platform",
            quantity="1",
            amount="20.00",
            explanations=[LineExplanation(description="billing period", quantity="1", unit_amount="20", amount="20")],
        ),
        InvoicedLine(
            price="requests",
            description="Requests",
            meter="requests",
            quantity="501",
            amount="0.50",
            explanations=[
                LineExplanation(description="tier up to 500", quantity="500", unit_amount="0", amount="0"),
                LineExplanation(description="tier above 500", quantity="1", unit_amount="0.002", amount="0.002"),
                LineExplanation(
                    description="flat amount of tier above 500", quantity="1", unit_amount="0.5", amount="0.5"
                ),
            ],
        ),
        InvoicedLine(
            price="tokens",
            description="Tokens",
            meter="tokens",
            quantity="1",
            amount="0.01",
            explanations=[
                LineExplanation(description="packages of 1000", quantity="1", unit_amount="0.0125", amount="0.0125")
            ],
        ),
    ],
    total="20.51",
    usage_position=7,
    finalized_at=to_timestamp(NOW),
    customer="acme",
    currency="USD",
    period_start_at=to_timestamp(JANUARY.start),
    period_end_at=to_timestamp(JANUARY.end),
    subscription="acme-sub",
)


def test_a_customer_is_created_once() -> None:
    given(customer).when(create_acme).then(acme_created)
    given(customer, [acme_created]).when(replace(create_acme, at=LATER)).then_nothing()


def test_a_key_is_not_taken_twice() -> None:
    given(customer, [acme_created]).when(replace(create_acme, currency="EUR")).refuses(AlreadyExists, "CUSTOMER_EXISTS")


def test_a_customer_gets_another_name_once() -> None:
    renamed = CustomerUpdated(key="acme", display_name="Acme Ltd", updated_at=to_timestamp(LATER))
    given(customer, [acme_created]).when(RenameCustomer("acme", "Acme Ltd", LATER)).then(renamed)
    given(customer, [acme_created, renamed]).when(RenameCustomer("acme", "Acme Ltd", LATER)).then_nothing()
    given(customer, [acme_created]).when(RenameCustomer("acme", None, LATER)).then_nothing()


def test_nobody_cannot_be_renamed() -> None:
    given(customer).when(RenameCustomer("acme", "Acme", NOW)).refuses(NotFound, "CUSTOMER_NOT_FOUND")


def test_a_plan_begins_with_version_one_and_goes_on_without_gaps() -> None:
    given(plan_versions).when(CreatePlan(PLAN, NOW)).then(version_1)
    given(plan_versions, [version_1]).when(PublishPlanVersion(CHEAPER, NOW)).then(version_2)


def test_a_repeat_publishes_nothing() -> None:
    given(plan_versions, [version_1]).when(CreatePlan(PLAN, LATER)).then_nothing()
    given(plan_versions, [version_1]).when(PublishPlanVersion(PLAN, LATER)).then_nothing()


def test_creating_a_plan_is_safe_to_repeat_after_later_versions() -> None:
    given(plan_versions, [version_1, version_2]).when(CreatePlan(PLAN, LATER)).then_nothing()


def test_an_old_content_may_be_published_again_as_a_new_version() -> None:
    version_3 = to_event(PublishedPlan(PLAN, 3, LATER))
    given(plan_versions, [version_1, version_2]).when(PublishPlanVersion(PLAN, LATER)).then(version_3)


def test_a_plan_is_not_created_twice_nor_published_before_it_is_created() -> None:
    given(plan_versions, [version_1]).when(CreatePlan(CHEAPER, NOW)).refuses(AlreadyExists, "PLAN_EXISTS")
    given(plan_versions).when(PublishPlanVersion(PLAN, NOW)).refuses(NotFound, "PLAN_NOT_FOUND")


def test_a_plan_is_the_same_after_it_was_stored() -> None:
    assert from_event(version_1) == PublishedPlan(PLAN, 1, NOW)


def test_a_subscription_starts_once() -> None:
    given(subscription).when(start).then(started)
    given(subscription, [started]).when(replace(start, at=LATER)).then_nothing()


def test_a_repeat_that_named_no_version_is_one_whatever_was_published_since() -> None:
    again = replace(start, plan_version=2, is_newest_wanted=True)
    given(subscription, [started]).when(again).then_nothing()
    given(subscription, [started]).when(replace(again, is_newest_wanted=False)).refuses(AlreadyExists)


def test_a_subscription_ends_with_the_month_in_which_it_is_cancelled_and_keeps_its_end() -> None:
    cancel = CancelSubscription("acme-sub", BERLIN, datetime(2024, 3, 31, 21, 59, tzinfo=UTC))
    cancelled = SubscriptionCancelled(
        key="acme-sub",
        end_at=to_timestamp(datetime(2024, 3, 31, 22, tzinfo=UTC)),
        cancelled_at=to_timestamp(cancel.at),
    )
    given(subscription, [started]).when(cancel).then(cancelled)
    given(subscription, [started, cancelled]).when(replace(cancel, at=cancel.at + GRACE)).then_nothing()
    given(subscription).when(cancel).refuses(NotFound, "SUBSCRIPTION_NOT_FOUND")


def test_an_invoice_is_drafted_once_for_its_period() -> None:
    given(invoice).when(DraftInvoice(DRAFT, NOW)).then(drafted)
    given(invoice, [drafted]).when(DraftInvoice(DRAFT, LATER)).then_nothing()
    given(invoice, [drafted, finalized]).when(DraftInvoice(DRAFT, LATER)).then_nothing()
    given(invoice, [drafted]).when(DraftInvoice(replace(DRAFT, customer="other"), NOW)).refuses(AlreadyExists)


def test_a_draft_becomes_final_when_period_and_grace_are_over() -> None:
    given(invoice, [drafted]).when(finalize).then(finalized)


def test_an_open_period_is_not_invoiced() -> None:
    too_early = replace(finalize, at=NOW - timedelta(microseconds=1))
    given(invoice, [drafted]).when(too_early).refuses(PeriodIsOpen, "PERIOD_IS_OPEN")


def test_a_final_invoice_never_changes() -> None:
    other_usage = replace(finalize, rated=rate(PLAN, {}), usage_position=Position(9), at=LATER)
    given(invoice, [drafted, finalized]).when(other_usage).then_nothing()
    given(invoice, [drafted, finalized]).when(replace(finalize, number="INV-000002")).refuses(
        InvoiceIsFinal, "INVOICE_IS_FINAL"
    )


def test_an_invoice_that_was_never_drafted_is_not_finalized() -> None:
    given(invoice).when(finalize).refuses(NotFound, "INVOICE_NOT_FOUND")


def test_the_invoice_of_the_largest_plan_fits_into_one_event() -> None:
    step = Decimal("99999999999999999999999.999999999999")
    tiers = tuple(
        Tier(EXACT.multiply(step, Decimal(n)) if n < TIERS_MAX else None, step, step) for n in range(1, TIERS_MAX + 1)
    )
    tiered = PLAN_TIERS_MAX // TIERS_MAX
    prices = tuple(
        Price(f"{n:064d}", "\U0001f642" * 256, "m" * 64, Charge(ChargeModel.GRADUATED, tiers=tiers))
        if n < tiered
        else Price(f"{n:064d}", "\U0001f642" * 256, "m" * 64, Charge(ChargeModel.PER_UNIT, step))
        for n in range(PRICES_MAX)
    )
    largest = Plan("p" * 64, "\U0001f642" * 256, currency("USD"), prices)
    rated = rate(largest, {"m" * 64: Decimal("9" * 60)})
    (event,) = invoice.decide(replace(finalize, rated=rated), DRAFT)
    assert max(len(event.SerializeToString()), to_event(PublishedPlan(largest, 1, NOW)).ByteSize()) < PAYLOAD_BYTES_MAX
