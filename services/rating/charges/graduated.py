"""Graduated: each unit costs what the tier says that it falls in."""

from decimal import Decimal

from services.kernel.quantity import EXACT
from services.rating.charges.step import Step
from services.rating.charges.tier_steps import tier_name, tier_steps
from services.rating.plan import ZERO, Charge


def graduated(charge: Charge, quantity: Decimal) -> tuple[Step, ...]:
    """The steps of each tier that the quantity enters, lowest first; none for zero units.

    A tier is entered above the bound of the tier before (the first above zero): the bound itself belongs to the lower
    tier. Entering a tier adds its flat amount once.
    """
    steps: list[Step] = []
    below = ZERO
    for tier in charge.tiers:
        if quantity <= below:
            break
        top = quantity if tier.up_to is None else min(quantity, tier.up_to)
        steps.extend(tier_steps(tier, tier_name(tier, below), EXACT.subtract(top, below)))
        below = top
    return tuple(steps)
