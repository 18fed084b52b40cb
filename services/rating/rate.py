"""Rating: usage and a plan in, line items and their total out.

Amounts stay exact until a line is complete, then each line is rounded once, half up, to the currency's minor unit. The
total is the sum of the rounded lines.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from services.kernel.money import Currency, round_amount
from services.kernel.quantity import total
from services.rating.charges.step import Step, exact_amount
from services.rating.charges.table import CHARGES
from services.rating.plan import ZERO, Plan, Price

ONE_PERIOD = Decimal(1)


@dataclass(frozen=True, slots=True)
class LineItem:
    """One line of an invoice. `amount` is rounded, the steps are exact; `meter` is empty for a flat line."""

    price: str
    description: str
    meter: str
    quantity: Decimal
    amount: Decimal
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class RatedUsage:
    """What a customer owes for one period: lines in the order of the plan's prices, and their sum."""

    currency: Currency
    lines: tuple[LineItem, ...]
    total: Decimal


def rate(plan: Plan, usage: Mapping[str, Decimal]) -> RatedUsage:
    """Rate the usage of one period, by meter; a meter without usage counts zero units."""
    lines = tuple(_line(price, _quantity(price, usage), plan.currency) for price in plan.prices)
    return RatedUsage(plan.currency, lines, total([line.amount for line in lines]))


def _quantity(price: Price, usage: Mapping[str, Decimal]) -> Decimal:
    return usage.get(price.meter, ZERO) if price.meter else ONE_PERIOD


def _line(price: Price, quantity: Decimal, currency: Currency) -> LineItem:
    steps = CHARGES[price.charge.model](price.charge, _billable(quantity))
    amount = round_amount(exact_amount(steps), currency)
    return LineItem(price.key, price.description, price.meter, quantity, amount, steps)


def _billable(quantity: Decimal) -> Decimal:
    """Zero for a negative quantity (corrections larger than the usage): the line shows it, and it costs nothing."""
    return max(quantity, ZERO)
