"""Flat: an amount per billing period, whatever the usage, none included."""

from decimal import Decimal

from services.rating.charges.step import Step, step
from services.rating.plan import Charge


def flat(charge: Charge, quantity: Decimal) -> tuple[Step, ...]:
    """One step, the amount once for each of `quantity` billing periods."""
    return (step("billing period", quantity, charge.amount),)
