"""The steps that units in one tier take, and the words for a tier; shared by graduated and volume prices."""

from decimal import Decimal

from services.kernel.quantity import decimal_text
from services.rating.charges.step import Step, step
from services.rating.plan import ZERO, Tier


def tier_steps(tier: Tier, name: str, units: Decimal) -> tuple[Step, ...]:
    """The step of `units` at the tier's amount, then its flat amount, if it has one."""
    steps = (step(name, units, tier.unit_amount),)
    if tier.flat_amount == ZERO:
        return steps
    return (*steps, step(f"flat amount of {name}", Decimal(1), tier.flat_amount))


def tier_name(tier: Tier, below: Decimal) -> str:
    """Words for the tier that begins above `below`, such as "tier above 500 up to 1000"."""
    above = f" above {decimal_text(below)}" if below else ""
    up_to = f" up to {decimal_text(tier.up_to)}" if tier.up_to is not None else ""
    return f"tier{above}{up_to}" if above or up_to else "only tier"
