"""Volume: all units cost what the one tier says that the quantity reaches."""

from decimal import Decimal

from services.rating.charges.step import Step
from services.rating.charges.tier_steps import tier_name, tier_steps
from services.rating.plan import ZERO, Charge


def volume(charge: Charge, quantity: Decimal) -> tuple[Step, ...]:
    """The steps of the one tier reached, over all units; none for zero units.

    The bound belongs to the lower tier. More units may cost less, where a higher tier is cheaper.
    """
    if quantity <= ZERO:
        return ()
    below = ZERO
    for tier in charge.tiers:
        if tier.up_to is None or quantity <= tier.up_to:
            return tier_steps(tier, f"all units at {tier_name(tier, below)}", quantity)
        below = tier.up_to
    raise AssertionError("a parsed price has a last tier without a bound")
