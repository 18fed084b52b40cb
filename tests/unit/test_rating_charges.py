"""What each charge model asks for a quantity, bound by bound, and how a line is rounded."""

from decimal import Decimal

import pytest

from services.kernel.money import amount_text, currency
from services.rating.charges.step import exact_amount
from services.rating.charges.table import CHARGES
from services.rating.plan import Charge, ChargeModel, Plan, Price, Tier
from services.rating.rate import rate

TIERS = (
    Tier(Decimal(100), Decimal("0.10")),
    Tier(Decimal(500), Decimal("0.05"), Decimal(7)),
    Tier(None, Decimal("0.01"), Decimal(3)),
)
FLAT = Charge(ChargeModel.FLAT, amount=Decimal(20))
PER_UNIT = Charge(ChargeModel.PER_UNIT, amount=Decimal("0.002"))
GRADUATED = Charge(ChargeModel.GRADUATED, tiers=TIERS)
VOLUME = Charge(ChargeModel.VOLUME, tiers=TIERS)
PACKAGE = Charge(ChargeModel.PACKAGE, amount=Decimal("0.0125"), package_size=Decimal(1000))
HUGE = "99999999999999999999999999.999999999999"


def amount_of(charge: Charge, quantity: str) -> Decimal:
    return exact_amount(CHARGES[charge.model](charge, Decimal(quantity)))


def plan_of(*charges: Charge, code: str = "USD") -> Plan:
    prices = tuple(
        Price(f"p{index}", "", "" if charge.model is ChargeModel.FLAT else "requests", charge)
        for index, charge in enumerate(charges)
    )
    return Plan("plan", "Plan", currency(code), prices)


@pytest.mark.parametrize(
    ("charge", "quantity", "amount"),
    [
        (PER_UNIT, "0", "0"),
        (PER_UNIT, "1.5", "0.003"),
        (PER_UNIT, HUGE, "199999999999999999999999.999999999999998"),
        (GRADUATED, "0", "0"),
        (GRADUATED, "0.5", "0.05"),
        (GRADUATED, "100", "10"),
        (GRADUATED, "100.000001", "17.00000005"),
        (GRADUATED, "500", "37"),
        (GRADUATED, "501", "40.01"),
        (VOLUME, "0", "0"),
        (VOLUME, "100", "10"),
        (VOLUME, "101", "12.05"),
        (VOLUME, "500", "32"),
        (VOLUME, "501", "8.01"),
        (PACKAGE, "0", "0"),
        (PACKAGE, "0.000000000001", "0.0125"),
        (PACKAGE, "1000", "0.0125"),
        (PACKAGE, "1000.1", "0.025"),
        (PACKAGE, "999999", "12.5"),
    ],
)
def test_a_quantity_costs_what_its_charge_model_says(charge: Charge, quantity: str, amount: str) -> None:
    assert amount_of(charge, quantity) == Decimal(amount)


def test_every_charge_model_is_in_the_table() -> None:
    assert set(CHARGES) == set(ChargeModel)


def test_a_flat_amount_of_the_first_tier_is_asked_for_the_first_unit_only() -> None:
    tiers = (Tier(None, Decimal(0), Decimal(5)),)
    for model in (ChargeModel.GRADUATED, ChargeModel.VOLUME):
        charge = Charge(model, tiers=tiers)
        assert [amount_of(charge, quantity) for quantity in ("0", "0.1", "9")] == [0, 5, 5]


def test_the_steps_of_a_graduated_price_read_like_its_tiers() -> None:
    steps = [(step.description, str(step.quantity)) for step in CHARGES[ChargeModel.GRADUATED](GRADUATED, Decimal(501))]
    assert steps == [
        ("tier up to 100", "100"),
        ("tier above 100 up to 500", "400"),
        ("flat amount of tier above 100 up to 500", "1"),
        ("tier above 500", "1"),
        ("flat amount of tier above 500", "1"),
    ]


def test_a_line_is_rounded_once_half_up_and_the_total_is_the_sum_of_rounded_lines() -> None:
    half_a_cent = Charge(ChargeModel.PER_UNIT, amount=Decimal("0.005"))
    just_below = Charge(ChargeModel.PER_UNIT, amount=Decimal("0.004999999999"))
    rated = rate(plan_of(half_a_cent, half_a_cent, just_below), {"requests": Decimal(1)})
    assert [str(line.amount) for line in rated.lines] == ["0.01", "0.01", "0.00"]
    assert str(rated.total) == "0.02"


def test_tiers_are_not_rounded_one_by_one() -> None:
    tiers = (Tier(Decimal(1), Decimal("0.004")), Tier(None, Decimal("0.004")))
    rated = rate(plan_of(Charge(ChargeModel.GRADUATED, tiers=tiers)), {"requests": Decimal(2)})
    assert str(rated.total) == "0.01"


@pytest.mark.parametrize(("code", "total"), [("JPY", "21"), ("USD", "20.50"), ("KWD", "20.500")])
def test_the_minor_unit_is_that_of_the_currency(code: str, total: str) -> None:
    half = Charge(ChargeModel.PER_UNIT, amount=Decimal("0.5"))
    rated = rate(plan_of(FLAT, half, code=code), {"requests": Decimal(1)})
    assert amount_text(rated.total, rated.currency) == total


def test_a_period_without_usage_costs_the_flat_amount_alone() -> None:
    rated = rate(plan_of(FLAT, PER_UNIT, GRADUATED, VOLUME, PACKAGE), {})
    assert [str(line.amount) for line in rated.lines] == ["20.00", "0.00", "0.00", "0.00", "0.00"]
    assert [line.steps != () for line in rated.lines] == [True, False, False, False, False]


def test_corrections_larger_than_the_usage_are_shown_and_cost_nothing() -> None:
    rated = rate(plan_of(PER_UNIT, GRADUATED, VOLUME, PACKAGE), {"requests": Decimal(-3)})
    assert [(str(line.quantity), str(line.amount)) for line in rated.lines] == [("-3", "0.00")] * 4


def test_the_largest_quantity_at_the_largest_amount_stays_exact() -> None:
    charge = Charge(ChargeModel.PER_UNIT, amount=Decimal(HUGE))
    assert format(amount_of(charge, HUGE), "f") == str((10**38 - 1) ** 2)[:-24] + "." + str((10**38 - 1) ** 2)[-24:]


def test_the_one_step_of_a_volume_price_names_the_tier_of_all_units() -> None:
    steps = [(step.description, str(step.quantity)) for step in CHARGES[ChargeModel.VOLUME](VOLUME, Decimal(101))]
    assert steps == [
        ("all units at tier above 100 up to 500", "101"),
        ("flat amount of all units at tier above 100 up to 500", "1"),
    ]
