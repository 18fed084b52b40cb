"""Exact decimals: quantities and amounts as text outside, `Decimal` inside, never a float.

A decimal text has at most 26 integer and 12 fractional digits, so it fits decimal128(38, 12).
"""

import re
from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

from services.kernel.errors import InvalidInput

INTEGER_DIGITS_MAX = 26
FRACTION_DIGITS_MAX = 12
DECIMAL_PATTERN = rf"-?[0-9]{{1,{INTEGER_DIGITS_MAX}}}(?:\.[0-9]{{1,{FRACTION_DIGITS_MAX}}})?"

# Wide enough for any product or sum that the system forms; a rounding that nobody asked for raises Inexact.
EXACT = Context(prec=200, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])

_ROUNDING = Context(prec=200, rounding=ROUND_HALF_UP, traps=[InvalidOperation, DivisionByZero, Overflow])
_DECIMAL_TEXT = re.compile(DECIMAL_PATTERN)
_TWELFTH_DIGIT = Decimal("0.000000000001")


def is_decimal_text(text: str) -> bool:
    """Whether `text` is plain decimal text: no exponent, no sign but "-", digits within the limits."""
    return _DECIMAL_TEXT.fullmatch(text) is not None


def parse_decimal(text: str, field: str = "value") -> Decimal:
    """The exact number; raises InvalidInput that names `field`."""
    if not is_decimal_text(text):
        raise InvalidInput(
            f'{field} is "{text[:60]}"; write plain decimal text such as "12.5", at most '
            f"{INTEGER_DIGITS_MAX} integer and {FRACTION_DIGITS_MAX} fractional digits",
            field=field,
            reason="NOT_A_DECIMAL",
        )
    return Decimal(text)


def decimal_text(number: Decimal) -> str:
    """The one text of a number: no exponent, no trailing zeros, no "-0"."""
    if not number:
        return "0"
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def quotient(dividend: Decimal, divisor: int) -> Decimal:
    """`dividend / divisor`, rounded half up (away from zero) at the 12th fractional digit."""
    exact = _ROUNDING.divide(dividend, Decimal(divisor))
    return exact.quantize(_TWELFTH_DIGIT, context=_ROUNDING)


def add(left: Decimal, right: Decimal) -> Decimal:
    """Exact sum."""
    return EXACT.add(left, right)


def multiply(left: Decimal, right: Decimal) -> Decimal:
    """Exact product."""
    return EXACT.multiply(left, right)


def total(numbers: "list[Decimal] | tuple[Decimal, ...]") -> Decimal:
    """Exact sum of many; zero for none."""
    result = Decimal(0)
    for number in numbers:
        result = EXACT.add(result, number)
    return result
