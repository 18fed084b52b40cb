"""Value expressions over whole columns of usage, exact: every step as wide as it needs, one rounding at the end.

A step whose result has more than 26 integer digits says nothing (null), like a missing operand or a division by zero.
"""

from collections.abc import Callable
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.meters.expression import (
    EventValue,
    Expression,
    Literal,
    Operation,
    Property,
    fraction_digits,
    looks_at_value,
    property_keys_of,
    round_digits,
)
from services.aggregator.states.decimal_column import NUMBER, parse_decimals
from services.eventstore.usage_batch import property_column
from services.kernel.quantity import EXACT, FRACTION_DIGITS_MAX, INTEGER_DIGITS_MAX

_NARROW_DIGITS = 13
"""Integer digits of operands that Arrow multiplies and divides: two of them, with 48 fractional digits, fill 76."""

_BEYOND = Decimal(10**INTEGER_DIGITS_MAX)
_ByRow = Callable[[Decimal, Decimal], Decimal | None]


def expression_columns(tree: Expression) -> set[str]:
    """The columns of a usage table that the expression looks at."""
    return {*map(property_column, property_keys_of(tree)), *(("value",) if looks_at_value(tree) else ())}


def evaluate(tree: Expression, usage: pa.Table) -> pa.Array:
    """The number of each usage event, as NUMBER: rounded half up at the 12th digit; null where there is none."""
    return _rounded(_result(tree, usage), FRACTION_DIGITS_MAX).cast(NUMBER)


def _result(tree: Expression, usage: pa.Table) -> pa.Array:
    """The exact results, as decimals of the type of `_type`."""
    match tree:
        case Literal(number):
            return pa.repeat(pa.scalar(number, _type(fraction_digits(tree))), usage.num_rows)
        case Property(key):
            return parse_decimals(usage[property_column(key)].combine_chunks()).cast(_type(FRACTION_DIGITS_MAX))
        case EventValue():
            return usage["value"].combine_chunks().cast(_type(FRACTION_DIGITS_MAX))
        case Operation("round", (operand, _)):
            return _rounded(_result(operand, usage), round_digits(tree))
        case Operation(name, operands):
            return _STEPS[name](*(_result(operand, usage) for operand in operands))


def _type(digits: int) -> pa.DataType:
    return pa.decimal256(INTEGER_DIGITS_MAX + digits, digits)


def _sum(left: pa.Array, right: pa.Array) -> pa.Array:
    return _bounded(pc.add(left, right))


def _difference(left: pa.Array, right: pa.Array) -> pa.Array:
    return _bounded(pc.subtract(left, right))


def _product(left: pa.Array, right: pa.Array) -> pa.Array:
    def by_row(one: Decimal, other: Decimal) -> Decimal | None:
        return _within(EXACT.multiply(one, other))

    return _where_narrow(left, right, lambda one, other: _bounded(pc.multiply(one, other)), by_row)


def _quotient(left: pa.Array, right: pa.Array) -> pa.Array:
    # Arrow cuts off beyond the 13th digit at the earliest, and half up looks at no digit behind that one.
    divisors = pc.if_else(pc.equal(right, pa.scalar(Decimal(0), right.type)), None, right)
    return _where_narrow(left, divisors, lambda one, other: _rounded(pc.divide(one, other), 12), _quotient_of)


def _quotient_of(dividend: Decimal, divisor: Decimal) -> Decimal | None:
    top, bottom = dividend.as_integer_ratio(), divisor.as_integer_ratio()
    numerator, denominator = top[0] * bottom[1] * 10**FRACTION_DIGITS_MAX, top[1] * bottom[0]
    units = (2 * abs(numerator) + abs(denominator)) // (2 * abs(denominator))
    sign = -1 if (numerator < 0) != (denominator < 0) else 1
    return _within(EXACT.scaleb(Decimal(sign * units), -FRACTION_DIGITS_MAX))


def _where_narrow(
    left: pa.Array, right: pa.Array, step: Callable[[pa.Array, pa.Array], pa.Array], by_row: _ByRow
) -> pa.Array:
    """`step` of both, in columns; the few rows with an operand too wide for that one by one, with the same result."""
    wide = pc.or_(_is_wide(left), _is_wide(right))
    if not pc.any(wide).as_py():
        return step(_narrowed(left), _narrowed(right))
    narrow = step(_narrowed(pc.if_else(wide, None, left)), _narrowed(pc.if_else(wide, None, right)))
    pairs = zip(left.filter(wide).to_pylist(), right.filter(wide).to_pylist(), strict=True)
    exact = [None if None in pair else by_row(*pair) for pair in pairs]
    return pc.replace_with_mask(narrow, wide, pa.array(exact, narrow.type))


def _is_wide(column: pa.Array) -> pa.Array:
    return pc.fill_null(pc.greater_equal(pc.abs(column), pa.scalar(Decimal(10**_NARROW_DIGITS), column.type)), False)


def _narrowed(column: pa.Array) -> pa.Array:
    return column.cast(pa.decimal256(_NARROW_DIGITS + column.type.scale, column.type.scale))


def _bounded(column: pa.Array) -> pa.Array:
    """The column by its `_type`, null where a number has too many integer digits."""
    wanted = _type(column.type.scale)
    if column.type.precision <= wanted.precision:
        return column.cast(wanted)
    is_beyond = pc.greater_equal(pc.abs(column), pa.scalar(_BEYOND, column.type))
    if pc.any(is_beyond).as_py():
        column = pc.if_else(is_beyond, None, column)
    return column.cast(wanted)


def _rounded(column: pa.Array, digits: int) -> pa.Array:
    """Half up, away from zero."""
    scale = column.type.scale
    if scale <= digits:
        return _bounded(column)
    # Rounding may add an integer digit.
    wider = column.cast(pa.decimal256(column.type.precision + 1, scale))
    rounded = _bounded(pc.round(wider, digits, round_mode="half_towards_infinity"))
    return rounded.cast(_type(digits))


def _to_integer(function: Callable[[pa.Array], pa.Array]) -> Callable[[pa.Array], pa.Array]:
    def step(column: pa.Array) -> pa.Array:
        wider = column.cast(pa.decimal256(column.type.precision + 1, column.type.scale))
        return _bounded(function(wider)).cast(_type(0))

    return step


def _extreme(function: Callable[..., pa.Array]) -> Callable[..., pa.Array]:
    def step(*columns: pa.Array) -> pa.Array:
        scale = max(column.type.scale for column in columns)
        return function(*(column.cast(_type(scale)) for column in columns), skip_nulls=False)

    return step


def _within(number: Decimal) -> Decimal | None:
    return number if abs(number) < _BEYOND else None


_STEPS: dict[str, Callable[..., pa.Array]] = {
    "+": _sum,
    "-": _difference,
    "*": _product,
    "/": _quotient,
    "negate": pc.negate,
    "min": _extreme(pc.min_element_wise),
    "max": _extreme(pc.max_element_wise),
    "ceil": _to_integer(pc.ceil),
    "floor": _to_integer(pc.floor),
}
