"""Value expressions: how they are read, what is refused, and what they say where it is easy to get wrong."""

from decimal import Decimal

import pyarrow as pa
import pytest

from services.aggregator.meters.expression import parse_expression
from services.aggregator.meters.expression_columns import evaluate, expression_columns
from services.aggregator.states.decimal_column import decimal_texts
from services.eventstore.usage_batch import VALUE, property_column
from services.kernel.errors import InvalidInput

LARGEST = "99999999999999999999999999.999999999999"


def number(expression: str, event_value: str = "1", /, **properties: str) -> str | None:
    tree = parse_expression(expression)
    columns = {name: pa.nulls(1, pa.utf8()).dictionary_encode() for name in expression_columns(tree)}
    held = {property_column(key): pa.array([text]).dictionary_encode() for key, text in properties.items()}
    usage = pa.table({**columns, **held, "value": pa.array([Decimal(event_value)], VALUE)})
    (text,) = decimal_texts(evaluate(tree, usage)).to_pylist()
    assert text is None or isinstance(text, str)
    return text


def test_products_come_before_sums_and_equals_go_from_left_to_right() -> None:
    assert number("input_tokens + 3 * output_tokens", input_tokens="100", output_tokens="20") == "160"
    assert number("(a + 3) * b", a="100", b="20") == "2060"
    assert number("a - b - 1", a="10", b="4") == "5"
    assert number("a / b / 2", a="100", b="5") == "10"
    assert number("-a - -b", a="1", b="3") == "2"
    assert number("2*-a", a="4") == "-8"


def test_value_is_the_value_of_the_usage_event_and_a_property_of_that_name_stands_between_backticks() -> None:
    assert number("value * 2", "1.5") == "3"
    assert number("`value` + value", "1", value="40") == "41"


def test_keys_with_dots_stand_alone_and_keys_with_hyphens_between_backticks() -> None:
    assert number("a.b - c", **{"a.b": "7", "c": "2"}) == "5"
    assert number("`a-b` - c", **{"a-b": "7", "c": "2"}) == "5"


def test_a_function_name_without_parentheses_is_a_property() -> None:
    assert number("min(min, max)", min="3", max="2") == "2"


def test_quoted_decimals_stay_exact() -> None:
    """openmeter #4747: numbers sent as text went through floats; here no digit is lost on the way."""
    assert number("a + b", a="0.1", b="0.2") == "0.3"
    assert number("a + 0.000000000001", a="9007199254740993") == "9007199254740993.000000000001"
    assert number("a", a=LARGEST) == LARGEST


def test_a_product_keeps_all_digits_until_the_end() -> None:
    assert number("a * b * 1000000", a="0.000000000001", b="0.000001") == "0.000000000001"
    assert number("a * b", a="0.0000005", b="0.000001") == "0.000000000001"
    assert number("a * b", a="-0.0000005", b="0.000001") == "-0.000000000001"
    assert number("a * b", a="0.0000004", b="0.000001") == "0"


def test_a_quotient_rounds_half_up_at_the_twelfth_digit() -> None:
    assert number("a / 3", a="2") == "0.666666666667"
    assert number("a / 3", a="-2") == "-0.666666666667"
    assert number("a / 8", a="0.000000000004") == "0.000000000001"
    assert number("a / b", a=LARGEST, b=LARGEST) == "1"
    assert number("a / b", a=LARGEST, b="3") == "33333333333333333333333333.333333333333"


def test_rounding_goes_away_from_zero_at_the_half() -> None:
    assert number("round(a, 0)", a="2.5") == "3"
    assert number("round(a, 0)", a="-2.5") == "-3"
    assert number("round(a, 2)", a="1.005") == "1.01"
    assert (number("ceil(a)", a="-1.5"), number("floor(a)", a="-1.5")) == ("-1", "-2")


@pytest.mark.parametrize(
    ("expression", "properties"),
    [
        ("a + b", {"a": "1"}),
        ("a + b", {"a": "1", "b": "1e3"}),
        ("a / b", {"a": "1", "b": "0"}),
        ("a / b", {"a": "1", "b": "-0.000"}),
        ("a / (b - b)", {"a": "1", "b": LARGEST}),
        ("a + 1", {"a": LARGEST}),
        ("a * 10", {"a": LARGEST}),
        ("a * a", {"a": LARGEST}),
        ("a / b", {"a": "99999999999999999999999999", "b": "0.000000000001"}),
        ("a * 10 / 10", {"a": LARGEST}),
        ("round(a, 0)", {"a": LARGEST}),
        ("ceil(a)", {"a": LARGEST}),
        ("min(a, b)", {"a": "1"}),
    ],
)
def test_without_a_number_there_is_nothing_to_count(expression: str, properties: dict[str, str]) -> None:
    assert number(expression, **properties) is None


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "the end stands where a property key"),
        ("a +", "at character 4 the end"),
        ("a b", 'at character 3 "b" stands where an operator'),
        ("(a", 'the end stands where "\\)"'),
        ("a)", 'at character 2 "\\)"'),
        ("a ** 2", 'at character 4 "\\*"'),
        ("a % 2", 'at character 3 "%" is not understood'),
        ("1e3 * a", '"e3" stands where an operator'),
        (".5 * a", '"\\." is not understood'),
        ("a + ١", "is not understood"),
        ("a\u00a0§", "is not understood"),
        ("`a", "is not understood"),
        ("`a b`", "no property key"),
        ("``", "no property key"),
        ("sum(a)", 'no function "sum"'),
        ("__import__('os')", "is not understood"),
        ("a.__class__()", 'no function "a.__class__"'),
        ("min(a)", "min takes 2 to 8 operands, not 1"),
        ("ceil(a, b)", "ceil takes 1 to 1 operands, not 2"),
        ("round(a, b)", "round takes its digits as a number"),
        ("round(a, 13)", "round takes its digits as a number"),
        ("round(a, 1.5)", "round takes its digits as a number"),
        ("3 * 4", "looks at no property"),
        ("a * b * c * d * e", "60 fractional digits"),
        ("a + 1" + "0" * 26, "more than 26 integer"),
        ("a + 0." + "0" * 12 + "1", "more than 26 integer or 12 fractional"),
        ("(" * 17 + "a" + ")" * 17, "more than 16 deep"),
        ("-" * 17 + "a", "more than 16 deep"),
        ("a" + "+a" * 65, "more than 64 operations"),
        ("a" * 65, "no property key"),
        ("a + " * 200 + "a", "has 801 characters"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_place_and_the_problem(expression: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as refusal:
        parse_expression(expression, "meter.value_expression")
    assert (refusal.value.field, refusal.value.reason) == ("meter.value_expression", "BAD_EXPRESSION")


def test_the_longest_expression_is_read_and_counted() -> None:
    longest = "a" + "+a" * 64
    assert number(longest, a="0.5") == "32.5"
    assert number("(" * 16 + "a" + ")" * 16, a="2") == "2"
