"""What a plan is: prices in the order of the invoice's lines, each charged by one charge model."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from services.kernel.money import Currency

ZERO = Decimal(0)

PRICES_MAX = 100
TIERS_MAX = 100
PLAN_TIERS_MAX = 1_000
"""Tiers of all prices of a plan together, so that the invoice of any usage fits into one event."""


class ChargeModel(StrEnum):
    """How a quantity becomes an amount."""

    FLAT = "flat"
    PER_UNIT = "per_unit"
    GRADUATED = "graduated"
    VOLUME = "volume"
    PACKAGE = "package"


@dataclass(frozen=True, slots=True)
class Tier:
    """One step of a tiered price. `up_to` is inclusive: the bound belongs to this tier; the last tier has none."""

    up_to: Decimal | None
    unit_amount: Decimal
    flat_amount: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Charge:
    """The numbers of one charge model; what a model does not use is zero or empty.

    `amount` is that of a flat price, of one unit, or of one package. Tiers rise, and only the last has no bound.
    """

    model: ChargeModel
    amount: Decimal = ZERO
    package_size: Decimal = ZERO
    tiers: tuple[Tier, ...] = ()


@dataclass(frozen=True, slots=True)
class Price:
    """What one line of an invoice costs. `meter` is empty for a flat price, and only there."""

    key: str
    description: str
    meter: str
    charge: Charge


@dataclass(frozen=True, slots=True)
class Plan:
    """A price list."""

    key: str
    display_name: str
    currency: Currency
    prices: tuple[Price, ...]

    @property
    def meters(self) -> tuple[str, ...]:
        """The meters whose usage is priced, each once, in the order of the prices."""
        return tuple(dict.fromkeys(price.meter for price in self.prices if price.meter))


@dataclass(frozen=True, slots=True)
class PublishedPlan:
    """A version of a plan, which never changes."""

    plan: Plan
    version: int
    published_at: datetime
