"""Value expressions by plain Python in fractions: texts for the aggregator, and what they say of one usage event."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import ceil, floor

from hypothesis import strategies as st

from tests.plain_usage import is_number

BEYOND = 10**26
PROPERTY_KEYS = ("a", "b_2", "c.d", "e-f", "value", "min")

Says = Callable[[Fraction, Mapping[str, str]], Fraction | None]
"""From the usage event's value and its properties to the number; None when there is none."""

Written = tuple[str, Says]


def half_up(number: Fraction, digits: int) -> Fraction:
    scaled = abs(number) * 10**digits
    whole = floor(scaled + Fraction(1, 2))
    return Fraction(whole if number >= 0 else -whole, 10**digits)


def within(number: Fraction | None) -> Fraction | None:
    return None if number is None or abs(number) >= BEYOND else number


def of_property(key: str) -> Written:
    def says(_value: Fraction, properties: Mapping[str, str]) -> Fraction | None:
        text = properties.get(key)
        return Fraction(text) if text is not None and is_number(text) else None

    return (key if key in ("a", "b_2", "c.d", "min") else f"`{key}`"), says


def step(name: str, says: Callable[..., Fraction | None], *operands: Written) -> Written:
    def total(value: Fraction, properties: Mapping[str, str]) -> Fraction | None:
        numbers = [each(value, properties) for _, each in operands]
        return None if None in numbers else within(says(*numbers))

    texts = [text for text, _ in operands]
    if name.isalpha():
        return f"{name}( {', '.join(texts)})", total
    return ("(" + f" {name} ".join(texts) + ")" if len(texts) == 2 else f"-{texts[0]}"), total


def rounding(operand: Written, digits: int) -> Written:
    text, total = step("round", lambda number: half_up(number, digits), operand)
    return text.removesuffix(")") + f",{digits})", total


def divided(dividend: Fraction, divisor: Fraction) -> Fraction | None:
    return half_up(dividend / divisor, 12) if divisor else None


leaves: st.SearchStrategy[Written] = st.one_of(
    st.sampled_from(PROPERTY_KEYS).map(of_property),
    st.just(("value", lambda value, _properties: value)),
    st.sampled_from(["0", "3", "1024", "0.000000000001", "10000000000000", "0.5"]).map(
        lambda text: (text, lambda _value, _properties: Fraction(text))
    ),
)


def larger(smaller: st.SearchStrategy[Written]) -> st.SearchStrategy[Written]:
    two = st.tuples(smaller, smaller)
    return st.one_of(
        two.map(lambda pair: step("+", lambda one, other: one + other, *pair)),
        two.map(lambda pair: step("-", lambda one, other: one - other, *pair)),
        two.map(lambda pair: step("*", lambda one, other: one * other, *pair)),
        two.map(lambda pair: step("/", divided, *pair)),
        two.map(lambda pair: step("min", min, *pair)),
        st.tuples(smaller, smaller, smaller).map(lambda three: step("max", max, *three)),
        smaller.map(lambda one: step("-", lambda number: -number, one)),
        smaller.map(lambda one: step("ceil", lambda number: Fraction(ceil(number)), one)),
        smaller.map(lambda one: step("floor", lambda number: Fraction(floor(number)), one)),
        st.tuples(smaller, st.integers(0, 12)).map(lambda pair: rounding(*pair)),
    )


expressions: st.SearchStrategy[Written] = st.recursive(leaves, larger, max_leaves=6)


def number_of(written: Written, value: Fraction, properties: Mapping[str, str]) -> Fraction | None:
    """What the expression says, rounded half up at the 12th digit."""
    number = written[1](value, properties)
    return None if number is None else within(half_up(number, 12))
