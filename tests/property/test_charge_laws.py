"""Laws that hold for every price and every quantity."""

from decimal import Decimal
from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.kernel.money import currency, round_amount
from services.kernel.quantity import EXACT, total
from services.rating.charges.step import exact_amount
from services.rating.charges.table import CHARGES
from services.rating.plan import ZERO, Charge, ChargeModel, Plan, Price, Tier
from services.rating.rate import rate

ATOM = Decimal("0.000000000001")


def decimals(atoms_min: int, atoms_max: int) -> st.SearchStrategy[Decimal]:
    """Exact decimals between so many millionths of a millionth."""
    return st.integers(atoms_min, atoms_max).map(lambda atoms: EXACT.multiply(Decimal(atoms), ATOM))


amounts = decimals(0, 10**15)
quantities = st.one_of(st.integers(0, 10**6).map(Decimal), decimals(0, 10**38 - 1))
sizes = st.one_of(st.integers(1, 10**6).map(Decimal), decimals(1, 10**15))


@st.composite
def tiers(draw: st.DrawFn) -> tuple[Tier, ...]:
    """Tiers that rise, the last without a bound."""
    bounds = list(accumulate(draw(st.lists(sizes, max_size=5)), EXACT.add))
    return tuple(Tier(bound, draw(amounts), draw(st.sampled_from([ZERO, Decimal(3)]))) for bound in [*bounds, None])


charges = st.one_of(
    st.builds(lambda amount: Charge(ChargeModel.PER_UNIT, amount=amount), amounts),
    st.builds(lambda steps: Charge(ChargeModel.GRADUATED, tiers=steps), tiers()),
    st.builds(lambda steps: Charge(ChargeModel.VOLUME, tiers=steps), tiers()),
    st.builds(lambda amount, size: Charge(ChargeModel.PACKAGE, amount=amount, package_size=size), amounts, sizes),
)
monotonic_charges = charges.filter(lambda charge: charge.model is not ChargeModel.VOLUME)


def amount_of(charge: Charge, quantity: Decimal) -> Decimal:
    return exact_amount(CHARGES[charge.model](charge, quantity))


@given(charges, quantities)
def test_each_step_is_its_quantity_times_its_amount_and_they_sum_to_the_exact_amount(
    charge: Charge, quantity: Decimal
) -> None:
    steps = CHARGES[charge.model](charge, quantity)
    assert all(step.amount == EXACT.multiply(step.quantity, step.unit_amount) for step in steps)
    assert amount_of(charge, quantity) == total([step.amount for step in steps])


@given(monotonic_charges, quantities, quantities)
def test_more_usage_never_costs_less(charge: Charge, quantity: Decimal, more: Decimal) -> None:
    assert amount_of(charge, quantity) <= amount_of(charge, EXACT.add(quantity, more))


@given(tiers(), quantities, quantities)
def test_more_usage_never_costs_less_by_volume_when_higher_tiers_are_not_cheaper(
    steps: tuple[Tier, ...], quantity: Decimal, more: Decimal
) -> None:
    prices = sorted(tier.unit_amount for tier in steps)
    fees = sorted(tier.flat_amount for tier in steps)
    rising = tuple(Tier(tier.up_to, price, fee) for tier, price, fee in zip(steps, prices, fees, strict=True))
    charge = Charge(ChargeModel.VOLUME, tiers=rising)
    assert amount_of(charge, quantity) <= amount_of(charge, EXACT.add(quantity, more))


@given(tiers(), quantities)
def test_graduated_units_are_all_priced_and_each_in_one_tier(steps: tuple[Tier, ...], quantity: Decimal) -> None:
    taken = CHARGES[ChargeModel.GRADUATED](Charge(ChargeModel.GRADUATED, tiers=steps), quantity)
    units = [step.quantity for step in taken if not step.description.startswith("flat amount")]
    assert total(units) == quantity


@given(tiers())
def test_a_graduated_amount_does_not_jump_at_a_bound_without_a_flat_amount(steps: tuple[Tier, ...]) -> None:
    plain = tuple(Tier(tier.up_to, tier.unit_amount) for tier in steps)
    charge = Charge(ChargeModel.GRADUATED, tiers=plain)
    for lower, upper in pairwise(plain):
        assert lower.up_to is not None
        at_bound = amount_of(charge, lower.up_to)
        step_below = EXACT.multiply(ATOM, lower.unit_amount)
        step_above = EXACT.multiply(ATOM, upper.unit_amount)
        assert EXACT.subtract(at_bound, step_below) == amount_of(charge, EXACT.subtract(lower.up_to, ATOM))
        assert EXACT.add(at_bound, step_above) == amount_of(charge, EXACT.add(lower.up_to, ATOM))


@given(tiers(), quantities)
def test_one_tier_costs_the_same_by_every_tiered_model_and_per_unit(steps: tuple[Tier, ...], quantity: Decimal) -> None:
    only = Tier(None, steps[-1].unit_amount)
    asked = {
        amount_of(Charge(ChargeModel.GRADUATED, tiers=(only,)), quantity),
        amount_of(Charge(ChargeModel.VOLUME, tiers=(only,)), quantity),
        amount_of(Charge(ChargeModel.PER_UNIT, amount=only.unit_amount), quantity),
    }
    assert len(asked) == 1


@given(sizes, quantities)
def test_packages_hold_the_quantity_and_one_less_would_not(size: Decimal, quantity: Decimal) -> None:
    charge = Charge(ChargeModel.PACKAGE, amount=Decimal(1), package_size=size)
    packages = amount_of(charge, quantity)
    assert packages == packages.to_integral_value()
    assert EXACT.multiply(packages, size) >= quantity
    assert packages == ZERO or EXACT.multiply(EXACT.subtract(packages, Decimal(1)), size) < quantity


@given(st.lists(charges, min_size=1, max_size=6), quantities, st.sampled_from(["JPY", "USD", "KWD"]))
def test_a_total_is_the_sum_of_its_rounded_lines(charged: list[Charge], quantity: Decimal, code: str) -> None:
    prices = tuple(Price(f"p{index}", "", "meter", charge) for index, charge in enumerate(charged))
    rated = rate(Plan("plan", "Plan", currency(code), prices), {"meter": quantity})
    assert rated.total == total([line.amount for line in rated.lines])
    for line in rated.lines:
        exact = exact_amount(line.steps)
        half_a_unit = Decimal(5).scaleb(-rated.currency.minor_digits - 1)
        assert EXACT.subtract(exact, half_a_unit) < line.amount <= EXACT.add(exact, half_a_unit)
        assert round_amount(line.amount, rated.currency) == line.amount
