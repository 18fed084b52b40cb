"""Per unit: the same amount for each unit, fractions of a unit included."""

from decimal import Decimal

from services.rating.charges.step import Step, step
from services.rating.plan import ZERO, Charge


def per_unit(charge: Charge, quantity: Decimal) -> tuple[Step, ...]:
    """One step over all units; none for zero units."""
    return (step("each unit", quantity, charge.amount),) if quantity > ZERO else ()
