"""What `meterlog apply` reads from a file, and how it says what is wrong with it."""

import pytest

from meterlog.aggregator.v1.aggregator_pb2 import AGGREGATION_SUM, Meter
from meterlog.rating.v1.rating_pb2 import Plan, Price, Subscription
from services.cli.declared.catalogue import Item, read_catalogue
from services.cli.failure import CommandFailed
from services.cli.instants import timestamp_text

METER = "meters: [{slug: tokens, event_type: llm.completion, aggregation: sum, value_property: tokens}]"
PLAN = """
plans:
  - key: llm
    currency: USD
    prices:
      - key: tokens
        meter: tokens
        graduated:
          tiers:
            - {up_to: "500", unit_amount: "0"}
            - {up_to: null, unit_amount: "0.002"}
"""


def problems(content: str) -> dict[str, str]:
    with pytest.raises(CommandFailed) as refused:
        read_catalogue(content, "catalogue.yaml")
    return {violation.field: violation.description for violation in refused.value.violations}


def only(content: str) -> Item:
    (item,) = read_catalogue(content, "catalogue.yaml")
    return item


def test_a_meter_is_declared_with_the_lower_case_name_of_its_aggregation() -> None:
    assert only(METER).message == Meter(
        slug="tokens", event_type="llm.completion", aggregation=AGGREGATION_SUM, value_property="tokens"
    )


def test_tiers_are_nested_below_their_charge_model_and_the_last_has_no_bound() -> None:
    plan = only(PLAN).message
    assert isinstance(plan, Plan)
    price: Price = plan.prices[0]
    assert price.WhichOneof("charge") == "graduated"
    assert [(tier.up_to, tier.unit_amount) for tier in price.graduated.tiers] == [("500", "0"), ("", "0.002")]


def test_items_come_in_the_order_in_which_they_can_be_applied_whatever_the_order_of_the_file() -> None:
    content = f"""
endpoints: [{{key: hooks, url: 'https://example.com'}}]
subscriptions: [{{key: s, customer: c, plan: llm, start_at: 2026-01-01T00:00:00Z}}]
{PLAN}
customers: [{{key: c, currency: USD}}]
{METER}
"""
    kinds = [item.kind for item in read_catalogue(content, "catalogue.yaml")]
    assert kinds == ["meter", "customer", "plan", "subscription", "endpoint"]


def test_an_instant_may_stand_unquoted() -> None:
    item = only("subscriptions: [{key: s, customer: c, plan: p, start_at: 2026-01-01T00:00:00+01:00}]")
    assert isinstance(item.message, Subscription)
    assert timestamp_text(item.message.start_at) == "2025-12-31T23:00:00Z"


def test_an_instant_without_an_offset_is_refused_because_nobody_knows_when_it_is() -> None:
    found = problems("subscriptions: [{key: s, customer: c, plan: p, start_at: 2026-01-01T00:00:00}]")
    assert "offset" in found["subscriptions[0].start_at"]


def test_a_whole_amount_may_stand_unquoted_because_it_is_exact() -> None:
    plan = only("plans: [{key: p, currency: USD, prices: [{key: base, flat: {amount: 20}}]}]").message
    assert isinstance(plan, Plan)
    assert plan.prices[0].flat.amount == "20"


@pytest.mark.parametrize("number", ["0.1", "1.0", "1e3", ".5", ".nan", "1_000", "010", "0x1F"])
def test_an_unquoted_number_that_yaml_would_change_is_refused_with_the_way_out(number: str) -> None:
    found = problems(f"plans: [{{key: p, currency: USD, prices: [{{key: base, flat: {{amount: {number}}}}}]}}]")
    assert "plans[0].prices[0].flat.amount" in found


def test_a_float_is_refused_with_the_text_to_write_instead() -> None:
    found = problems(PLAN.replace('"0.002"', "0.002"))
    path = "plans[0].prices[0].graduated.tiers[1].unit_amount"
    assert found[path] == 'is the unquoted number 0.002, which is not exact; write "0.002" (line 11)'


def test_an_unquoted_no_is_refused_instead_of_becoming_false() -> None:
    assert "truth value" in problems("customers: [{key: no, currency: NOK}]")["customers[0].key"]


def test_an_unknown_key_is_refused_with_its_path_and_the_known_ones() -> None:
    found = problems(METER.replace("value_property", "valueproperty"))
    assert found["meters[0].valueproperty"].startswith("is not known here; known are slug, display_name")


def test_an_unknown_section_is_refused() -> None:
    assert "plan" in problems("plan: []")


def test_a_key_that_stands_twice_is_refused() -> None:
    assert problems("customers: [{key: a, key: b, currency: USD}]")["customers[0].key"].startswith("stands here twice")


def test_two_items_of_one_key_are_refused() -> None:
    found = problems("customers: [{key: a, currency: USD}, {key: a, currency: EUR}]")
    assert found["customers[1].key"] == 'is "a", which customers[0] is called already'


def test_an_item_without_its_key_is_refused_because_it_could_not_be_applied_again() -> None:
    assert "missing" in problems("customers: [{currency: USD}]")["customers[0].key"]


@pytest.mark.parametrize("charges", ["", "flat: {amount: '1'}, per_unit: {unit_amount: '1'}"])
def test_a_price_has_exactly_one_charge_model(charges: str) -> None:
    found = problems(f"plans: [{{key: p, currency: USD, prices: [{{key: base, {charges}}}]}}]")
    assert found["plans[0].prices[0]"].startswith("needs exactly one of flat, per_unit, graduated, volume, package")


def test_every_problem_of_the_file_is_told_at_once() -> None:
    found = problems("customers: [{currency: 1.5}]\nmeters: [{slug: m, aggregation: total}]\nplans: 7\nnope: 1")
    assert set(found) == {"customers[0].key", "customers[0].currency", "meters[0].aggregation", "plans", "nope"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [("", "FILE_EMPTY"), ("# nothing", "FILE_EMPTY"), ("a: [", "NOT_YAML"), (b"\xff\xfe\xfa", "NOT_YAML")],
)
def test_what_is_no_declaration_at_all_is_refused_in_one_line(content: str | bytes, reason: str) -> None:
    with pytest.raises(CommandFailed) as refused:
        read_catalogue(content, "catalogue.yaml")
    assert refused.value.reason == reason
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("content", ["- a", "just text", "customers: {a: 1}", "customers: [7]", "customers: [[]]"])
def test_a_value_of_the_wrong_shape_is_a_problem_and_no_crash(content: str) -> None:
    assert problems(content)
