"""Package: an amount for each package of units; a started package counts whole."""

from decimal import Decimal

from services.kernel.quantity import EXACT, decimal_text
from services.rating.charges.step import Step, step
from services.rating.plan import ZERO, Charge


def package(charge: Charge, quantity: Decimal) -> tuple[Step, ...]:
    """One step over all packages, started ones included; none for zero units."""
    if quantity <= ZERO:
        return ()
    full, rest = EXACT.divmod(quantity, charge.package_size)
    packages = EXACT.add(full, Decimal(1)) if rest else full
    return (step(f"packages of {decimal_text(charge.package_size)}", packages, charge.amount),)
