"""Numbers keep every digit they came with, and are rounded once, at the currency's minor unit."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.errors import InvalidInput
from services.kernel.money import amount_text, currency, round_amount
from services.kernel.quantity import add, decimal_text, multiply, parse_decimal, quotient, total


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NaN",
        "Infinity",
        "1e400",
        "1e3",
        "0x10",
        " 1",
        "1 ",
        "+1",
        "1.",
        ".5",
        "1,5",
        "٣",
        "--1",
        "1" * 27,
        "0.1234567890123",
    ],
)
def test_text_that_is_no_plain_decimal_is_refused_with_the_field(text: str) -> None:
    with pytest.raises(InvalidInput, match="plain decimal text") as refusal:
        parse_decimal(text, "properties.tokens")
    assert refusal.value.field == "properties.tokens"
    assert refusal.value.reason == "NOT_A_DECIMAL"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1", "1"),
        ("1.50", "1.5"),
        ("-0", "0"),
        ("0.000", "0"),
        ("007", "7"),
        ("-12.500000000001", "-12.500000000001"),
        ("100", "100"),
    ],
)
def test_a_number_has_one_text(text: str, canonical: str) -> None:
    assert decimal_text(parse_decimal(text)) == canonical


DECIMALS = st.decimals(min_value=Decimal(-(10**26)) + 1, max_value=Decimal(10**26) - 1, places=12)


@given(st.lists(DECIMALS, max_size=50))
def test_a_total_does_not_depend_on_the_order(numbers: list[Decimal]) -> None:
    assert total(numbers) == total(numbers[::-1]) == total(sorted(numbers))


@given(DECIMALS, DECIMALS)
def test_sums_and_products_are_exact(left: Decimal, right: Decimal) -> None:
    assert Fraction(add(left, right)) == Fraction(left) + Fraction(right)
    assert Fraction(multiply(left, right)) == Fraction(left) * Fraction(right)


def test_a_mean_is_rounded_half_up_at_the_twelfth_digit() -> None:
    assert quotient(Decimal(1), 3) == Decimal("0.333333333333")
    assert quotient(Decimal("0.000000000001"), 2) == Decimal("0.000000000001")
    assert quotient(Decimal("-0.000000000001"), 2) == Decimal("-0.000000000001")


@pytest.mark.parametrize(
    ("amount", "code", "text"),
    [
        ("1.005", "USD", "1.01"),
        ("1.004999999999", "USD", "1.00"),
        ("-1.005", "USD", "-1.01"),
        ("1.5", "JPY", "2"),
        ("1.0005", "KWD", "1.001"),
        ("20", "USD", "20.00"),
    ],
)
def test_amounts_are_rounded_half_up_to_the_minor_unit(amount: str, code: str, text: str) -> None:
    money = currency(code)
    assert amount_text(Decimal(amount), money) == text
    assert round_amount(Decimal(amount), money) == Decimal(text)


def test_an_unknown_currency_is_refused() -> None:
    with pytest.raises(InvalidInput, match="ISO 4217"):
        currency("XXXX")
