"""What applying a declared item would change."""

from google.protobuf.message import Message

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from meterlog.client.condition import condition_messages
from meterlog.notifier.v1 import notifier_pb2 as notifier
from meterlog.rating.v1 import rating_pb2 as rating
from services.cli.declared.catalogue import SECTIONS, Item
from services.cli.declared.difference import Action, Change, Step, step_for
from services.cli.declared.kinds import KINDS
from services.cli.meters import is_redefined


def step(kind: str, declared: Message, current: Message | None) -> Step:
    section = next(section for section in SECTIONS if section.kind == kind)
    item = Item(section, getattr(declared, section.key_field), f"{section.name}[0]", declared)
    return step_for(item, current, KINDS[kind].rule)


def tiered(*amounts: str) -> rating.Plan:
    tiers = [rating.Tier(unit_amount=amount) for amount in amounts]
    price = rating.Price(key="tokens", meter="tokens", graduated=rating.GraduatedCharge(tiers=tiers))
    return rating.Plan(key="llm", currency="USD", prices=[price])


def test_what_is_not_there_is_created() -> None:
    created = step("customer", rating.Customer(key="acme", currency="USD"), None)
    assert created.action is Action.CREATE
    assert created.changes == (
        Change("key", "", "acme"),
        Change("display_name", "", "acme"),
        Change("currency", "", "USD"),
    )


def test_an_absent_field_means_the_default_that_the_service_fills_in() -> None:
    current = rating.Customer(key="acme", display_name="acme", currency="USD", time_zone="UTC")
    assert step("customer", rating.Customer(key="acme", currency="USD"), current).action is Action.UNCHANGED


def test_what_the_service_alone_decides_is_not_compared() -> None:
    current = tiered("0.1")
    current.version = 7
    assert step("plan", tiered("0.1"), current).action is Action.UNCHANGED


def test_equal_numbers_written_differently_are_equal() -> None:
    assert step("plan", tiered("0.10"), tiered("0.1")).action is Action.UNCHANGED


def test_a_default_amount_of_a_tier_equals_the_written_zero() -> None:
    current = tiered("0.1")
    current.prices[0].graduated.tiers[0].flat_amount = "0"
    assert step("plan", tiered("0.1"), current).action is Action.UNCHANGED


def test_a_changed_price_publishes_the_plan_anew_and_names_the_field() -> None:
    changed = step("plan", tiered("0.2"), tiered("0.1"))
    assert changed.action is Action.UPDATE
    assert changed.changes == (Change("prices[0].graduated.tiers[0].unit_amount", "0.1", "0.2"),)


def test_a_tier_that_is_gone_is_a_change() -> None:
    changed = step("plan", tiered("0.1"), tiered("0.1", "0.2"))
    assert Change("prices[0].graduated.tiers[1].unit_amount", "0.2", "") in changed.changes


def test_a_meter_that_counts_otherwise_is_redefined_and_shows_how() -> None:
    current = aggregator.Meter(slug="m", event_type="e", aggregation=aggregator.AGGREGATION_SUM)
    filters = condition_messages(["model=large", "bytes>=100"])
    declared = aggregator.Meter(slug="m", event_type="e", aggregation=aggregator.AGGREGATION_MAX, filters=filters)
    changed = step("meter", declared, current)
    assert changed.action is Action.UPDATE
    assert changed.changes == (
        Change("aggregation", "sum", "max"),
        Change("filters", "", "bytes>=100; model=large"),
    )
    assert is_redefined(declared, current)


def test_what_a_meter_counts_from_is_an_instruction_and_no_difference() -> None:
    current = aggregator.Meter(slug="m", event_type="e", aggregation=aggregator.AGGREGATION_SUM, version=3)
    declared = aggregator.Meter(slug="m", event_type="e", aggregation=aggregator.AGGREGATION_SUM)
    declared.effective_from.FromJsonString("2026-01-01T00:00:00Z")
    assert step("meter", declared, current).action is Action.UNCHANGED
    assert not is_redefined(declared, current)


def test_a_meter_may_get_another_unit_and_lose_its_name() -> None:
    current = aggregator.Meter(slug="m", display_name="Old", event_type="e", aggregation=aggregator.AGGREGATION_SUM)
    declared = aggregator.Meter(slug="m", event_type="e", aggregation=aggregator.AGGREGATION_SUM, unit="token")
    updated = step("meter", declared, current)
    assert updated.action is Action.UPDATE
    assert updated.changes == (Change("display_name", "Old", "m"), Change("unit", "", "token"))


def test_the_order_of_group_by_properties_says_nothing() -> None:
    declared = aggregator.Meter(slug="m", event_type="e", group_by=["region", "model"])
    current = aggregator.Meter(slug="m", event_type="e", group_by=["model", "region"])
    assert step("meter", declared, current).action is Action.UNCHANGED


def test_a_subscription_without_a_version_keeps_the_one_that_it_has() -> None:
    declared = rating.Subscription(key="s", customer="c", plan="p")
    current = rating.Subscription(key="s", customer="c", plan="p", plan_version=3)
    assert step("subscription", declared, current).action is Action.UNCHANGED


def test_a_subscription_cannot_move_to_another_plan() -> None:
    declared = rating.Subscription(key="s", customer="c", plan="q", plan_version=2)
    current = rating.Subscription(key="s", customer="c", plan="p", plan_version=3)
    assert step("subscription", declared, current).reason.startswith("plan, plan_version cannot change; cancel it")


def test_an_endpoint_without_a_mode_is_live() -> None:
    declared = notifier.Endpoint(key="hooks", url="https://example.com")
    current = notifier.Endpoint(key="hooks", url="https://example.com", mode=notifier.ENDPOINT_MODE_LIVE)
    assert step("endpoint", declared, current).action is Action.UNCHANGED
