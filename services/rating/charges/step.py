"""One step of a line's amount, as a person reads it on the invoice."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.kernel.quantity import multiply, total


@dataclass(frozen=True, slots=True)
class Step:
    """`quantity` times `unit_amount` is exactly `amount`; nothing is rounded here."""

    description: str
    quantity: Decimal
    unit_amount: Decimal
    amount: Decimal


def step(description: str, quantity: Decimal, unit_amount: Decimal) -> Step:
    """The step of so many units at this amount each."""
    return Step(description, quantity, unit_amount, multiply(quantity, unit_amount))


def exact_amount(steps: Sequence[Step]) -> Decimal:
    """What the steps come to, not rounded; zero for none."""
    return total([taken.amount for taken in steps])
