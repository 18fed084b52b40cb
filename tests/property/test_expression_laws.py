"""Laws of value expressions: over columns they say what fractions say, to the last digit, or nothing where those do."""

from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.aggregator.meters.expression import parse_expression
from services.aggregator.meters.expression_columns import evaluate, expression_columns
from services.eventstore.usage_batch import VALUE, property_column
from services.kernel.errors import InvalidInput
from tests.plain_expression import PROPERTY_KEYS, Written, expressions, number_of
from tests.plain_usage import shown

MOST = 10**38 - 1
units = st.one_of(
    st.integers(-MOST, MOST),
    st.integers(-(10**19), 10**19).map(lambda number: number * 10**6),
    st.sampled_from([0, 1, -1, MOST, 10**25, 10**25 - 1, 7 * 10**12, -3 * 10**12]),
)
texts = st.one_of(units.map(shown), st.sampled_from(["", "x", "1e3", "007"]))
usage_rows = st.lists(st.tuples(units, st.dictionaries(st.sampled_from(PROPERTY_KEYS), texts)), min_size=1, max_size=12)


def usage_table(rows: list[tuple[int, dict[str, str]]]) -> pa.Table:
    values = pa.array([Decimal(shown(number)) for number, _ in rows], VALUE)
    columns = {
        property_column(key): pa.array([held.get(key) for _, held in rows], pa.utf8()).dictionary_encode()
        for key in PROPERTY_KEYS
    }
    return pa.table({"value": values, **columns})


@settings(max_examples=100, deadline=None)
@given(written=expressions, rows=usage_rows)
def test_an_expression_says_what_fractions_say(written: Written, rows: list[tuple[int, dict[str, str]]]) -> None:
    try:
        tree = parse_expression(written[0])
    except InvalidInput:
        assume(False)

    usage = usage_table(rows).select(sorted(expression_columns(tree)))
    said = [None if number is None else Fraction(number) for number in evaluate(tree, usage).to_pylist()]

    assert said == [number_of(written, Fraction(number, 10**12), properties) for number, properties in rows]


@settings(max_examples=100, deadline=None)
@given(text=st.text("ab1.+-*/(),` round", max_size=40))
def test_any_text_is_an_expression_or_refused_with_a_reason(text: str) -> None:
    try:
        parse_expression(text, "meter.value_expression")
    except InvalidInput as refusal:
        found = (refusal.field, refusal.reason)
    else:
        found = ("meter.value_expression", "BAD_EXPRESSION")
    assert found == ("meter.value_expression", "BAD_EXPRESSION")
