"""A plan that is wrong is refused with the path of the field that is wrong."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from meterlog.rating.v1.rating_pb2 import (
    FlatCharge,
    GraduatedCharge,
    PackageCharge,
    PerUnitCharge,
    Plan,
    Price,
    Tier,
    VolumeCharge,
)
from services.kernel.errors import InvalidInput
from services.rating.api.conversion import plan_message
from services.rating.api.parse_plan import parse_plan
from services.rating.plan import PublishedPlan
from services.rating.stored_plan import from_event, to_event
from tests.rating_room import NEW_YEAR

TIERS = [Tier(up_to="500", unit_amount="0"), Tier(up_to="1000", unit_amount="0.002"), Tier(unit_amount="0.001")]


def good_plan() -> Plan:
    return Plan(
        key="start",
        currency="USD",
        prices=[
            Price(key="platform", description="Platform", flat=FlatCharge(amount="20")),
            Price(key="unit", meter="requests", per_unit=PerUnitCharge(unit_amount="0.002")),
            Price(key="tiers", meter="requests", graduated=GraduatedCharge(tiers=TIERS)),
            Price(key="volume", meter="requests", volume=VolumeCharge(tiers=TIERS)),
            Price(key="packages", meter="tokens", package=PackageCharge(package_size="1000", package_amount="0.0125")),
        ],
    )


def test_a_good_plan_is_read_shown_and_stored_as_it_was_written() -> None:
    plan = parse_plan(good_plan(), "plan")
    assert plan.meters == ("requests", "tokens")
    assert plan.prices[2].charge.tiers[2].up_to is None
    assert plan.prices[4].charge.package_size == Decimal(1000)
    shown = plan_message(from_event(to_event(PublishedPlan(plan, 1, NEW_YEAR))))
    assert parse_plan(shown, "plan") == plan


def test_names_default_to_keys() -> None:
    plan = parse_plan(good_plan(), "plan")
    assert (plan.display_name, plan.prices[0].description, plan.prices[1].description) == ("start", "Platform", "unit")


def test_amounts_written_differently_are_equal_content() -> None:
    other = good_plan()
    other.prices[0].flat.amount = "20.00"
    other.prices[2].graduated.tiers[0].unit_amount = "-0.0"
    assert parse_plan(other, "plan") == parse_plan(good_plan(), "plan")


def no_charge(plan: Plan) -> None:
    plan.prices[0].ClearField("flat")


def no_prices(plan: Plan) -> None:
    del plan.prices[:]


def too_many_prices(plan: Plan) -> None:
    plan.prices.extend(Price(key=f"p{n}", flat=FlatCharge(amount="1")) for n in range(96))


def too_many_tiers(plan: Plan) -> None:
    plan.prices[2].graduated.tiers.extend([Tier(up_to="1", unit_amount="0")] * 98)


def too_many_tiers_together(plan: Plan) -> None:
    tiers = [*(Tier(up_to=str(n), unit_amount="0") for n in range(1, 100)), Tier(unit_amount="0")]
    plan.prices.extend(Price(key=f"p{n}", meter="requests", volume=VolumeCharge(tiers=tiers)) for n in range(10))


def no_tiers(plan: Plan) -> None:
    del plan.prices[3].volume.tiers[:]


def tiers_fall(plan: Plan) -> None:
    plan.prices[2].graduated.tiers[1].up_to = "499.999999999999"


def tiers_stand(plan: Plan) -> None:
    plan.prices[3].volume.tiers[1].up_to = "500"


def first_tier_at_zero(plan: Plan) -> None:
    plan.prices[2].graduated.tiers[0].up_to = "0"


def last_tier_has_a_bound(plan: Plan) -> None:
    plan.prices[2].graduated.tiers[2].up_to = "2000"


def bound_missing(plan: Plan) -> None:
    plan.prices[2].graduated.tiers[1].up_to = ""


def bound_is_no_number(plan: Plan) -> None:
    plan.prices[2].graduated.tiers[1].up_to = "inf"


def tier_without_amount(plan: Plan) -> None:
    plan.prices[2].graduated.tiers[1].unit_amount = ""


def negative_flat_amount(plan: Plan) -> None:
    plan.prices[3].volume.tiers[0].flat_amount = "-1"


def negative_amount(plan: Plan) -> None:
    plan.prices[0].flat.amount = "-0.01"


def amount_with_exponent(plan: Plan) -> None:
    plan.prices[1].per_unit.unit_amount = "1e-3"


def amount_too_fine(plan: Plan) -> None:
    plan.prices[1].per_unit.unit_amount = "0.0000000000001"


def package_of_nothing(plan: Plan) -> None:
    plan.prices[4].package.package_size = "0"


def package_without_amount(plan: Plan) -> None:
    plan.prices[4].package.package_amount = ""


def key_twice(plan: Plan) -> None:
    plan.prices[3].key = "unit"


def key_in_capitals(plan: Plan) -> None:
    plan.prices[3].key = "Unit"


def plan_key_begins_with_a_digit(plan: Plan) -> None:
    plan.key = "1start"


def no_plan_key(plan: Plan) -> None:
    plan.key = ""


def unknown_currency(plan: Plan) -> None:
    plan.currency = "usd"


def flat_price_with_a_meter(plan: Plan) -> None:
    plan.prices[0].meter = "requests"


def usage_price_without_one(plan: Plan) -> None:
    plan.prices[1].meter = ""


def meter_is_no_slug(plan: Plan) -> None:
    plan.prices[1].meter = "API calls"


def name_with_a_line_break(plan: Plan) -> None:
    plan.display_name = "Start\nnow"


def description_too_long(plan: Plan) -> None:
    plan.prices[0].description = "x" * 257


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (no_charge, "plan.prices[0].charge"),
        (no_prices, "plan.prices"),
        (too_many_prices, "plan.prices"),
        (too_many_tiers, "plan.prices[2].graduated.tiers"),
        (too_many_tiers_together, "plan.prices"),
        (no_tiers, "plan.prices[3].volume.tiers"),
        (tiers_fall, "plan.prices[2].graduated.tiers[1].up_to"),
        (tiers_stand, "plan.prices[3].volume.tiers[1].up_to"),
        (first_tier_at_zero, "plan.prices[2].graduated.tiers[0].up_to"),
        (last_tier_has_a_bound, "plan.prices[2].graduated.tiers[2].up_to"),
        (bound_missing, "plan.prices[2].graduated.tiers[1].up_to"),
        (bound_is_no_number, "plan.prices[2].graduated.tiers[1].up_to"),
        (tier_without_amount, "plan.prices[2].graduated.tiers[1].unit_amount"),
        (negative_flat_amount, "plan.prices[3].volume.tiers[0].flat_amount"),
        (negative_amount, "plan.prices[0].flat.amount"),
        (amount_with_exponent, "plan.prices[1].per_unit.unit_amount"),
        (amount_too_fine, "plan.prices[1].per_unit.unit_amount"),
        (package_of_nothing, "plan.prices[4].package.package_size"),
        (package_without_amount, "plan.prices[4].package.package_amount"),
        (key_twice, "plan.prices[3].key"),
        (key_in_capitals, "plan.prices[3].key"),
        (plan_key_begins_with_a_digit, "plan.key"),
        (no_plan_key, "plan.key"),
        (unknown_currency, "plan.currency"),
        (flat_price_with_a_meter, "plan.prices[0].meter"),
        (usage_price_without_one, "plan.prices[1].meter"),
        (meter_is_no_slug, "plan.prices[1].meter"),
        (name_with_a_line_break, "plan.display_name"),
        (description_too_long, "plan.prices[0].description"),
    ],
)
def test_a_spoiled_plan_is_refused_by_the_path_of_its_field(spoil: Callable[[Plan], None], field: str) -> None:
    plan = good_plan()
    spoil(plan)
    with pytest.raises(InvalidInput) as refusal:
        parse_plan(plan, "plan")
    assert refusal.value.field == field
    assert field in refusal.value.message
