"""How states of each aggregation merge, and what they say: by examples that are easy to get wrong."""

from collections.abc import Sequence
from decimal import Decimal

import pyarrow as pa
import pytest

from services.aggregator.aggregations.aggregation import STATE_TYPES, Aggregation, AggregationName
from services.aggregator.aggregations.percentile import percentile
from services.aggregator.aggregations.table import AGGREGATIONS
from services.aggregator.aggregations.weighted_sum import WEIGHTED_SUM
from services.aggregator.states.decimal_column import decimal_texts, parse_decimals
from services.kernel.errors import RuleViolated

LARGEST = "99999999999999999999999999.999999999999"


def states(*rows: tuple[str, dict[str, object]]) -> pa.Table:
    """One state a row: its key, then whatever its aggregation keeps."""
    columns = {name: pa.array([state.get(name) for _, state in rows], kind) for name, kind in STATE_TYPES.items()}
    return pa.table({"key": [key for key, _ in rows], **columns})


def numbers(*texts: str) -> pa.Table:
    return states(*(("k", {"count": 1, "number": Decimal(text), "text": text}) for text in texts))


def values(aggregation: Aggregation, parts: Sequence[pa.Table]) -> dict[str, str]:
    """The quantity of each key when every part is merged by itself, and then all of them."""
    columns = ["key", *aggregation.columns]
    merged = [aggregation.merge(part.select(columns), ["key"]) for part in parts]
    answered = aggregation.quantities(pa.concat_tables(merged), ["key"]).to_pydict()
    return dict(zip(answered["key"], answered["value"], strict=True))


def value(name: str, *parts: pa.Table) -> str:
    return values(AGGREGATIONS[AggregationName(name)], parts)["k"]


def test_every_aggregation_is_in_the_table_under_its_own_name() -> None:
    assert {name: aggregation.name for name, aggregation in AGGREGATIONS.items()} == {n: n for n in AggregationName}


def test_a_sum_of_the_largest_values_is_exact() -> None:
    largest = [numbers(*[LARGEST] * 1_000) for _ in range(10)]

    assert value("sum", *largest) == "999999999999999999999999999999.99999999"


def test_a_sum_that_cancels_out_is_zero_and_has_no_sign() -> None:
    assert value("sum", numbers("0.000000000001"), numbers("-0.000000000001")) == "0"


def test_a_mean_is_rounded_once_from_the_exact_sum_half_up() -> None:
    assert value("avg", numbers("1", "1"), numbers("0")) == "0.666666666667"
    assert value("avg", numbers("0.000000000001"), numbers("0")) == "0.000000000001"
    assert value("avg", numbers("-0.000000000001"), numbers("0")) == "-0.000000000001"


def test_a_mean_weighs_usage_events_and_not_parts() -> None:
    assert value("avg", numbers("1", "1", "1"), numbers("5")) == "2"


def test_the_smallest_and_the_largest_are_numbers_and_not_texts() -> None:
    parts = numbers("9", "-10"), numbers("10", "-9")

    assert value("min", *parts) == "-10"
    assert value("max", *parts) == "10"


def test_first_and_last_go_by_time_then_position_then_row() -> None:
    def moment(number: int, at_us: int, position: int, row: int) -> tuple[str, dict[str, object]]:
        return "k", {"number": Decimal(number), "at_us": at_us, "position": position, "row": row}

    late_batch = states(moment(1, at_us=5, position=9, row=0), moment(2, at_us=7, position=9, row=1))
    early_batch = states(moment(3, at_us=7, position=2, row=4), moment(4, at_us=5, position=2, row=3))
    same_batch = states(moment(5, at_us=7, position=9, row=2), moment(6, at_us=5, position=2, row=2))

    assert value("first", late_batch, early_batch) == "4"
    assert value("last", late_batch, early_batch) == "2"
    assert value("first", late_batch, early_batch, same_batch) == "6"
    assert value("last", early_batch, same_batch, late_batch) == "5"


def test_a_text_counts_once_wherever_it_comes_from() -> None:
    assert value("unique_count", states(("k", {"text": "a"}), ("k", {"text": "b"}))) == "2"
    assert value("unique_count", states(("k", {"text": "a"})), states(("k", {"text": "a"}), ("k", {"text": ""}))) == "2"


def test_a_percentile_is_the_number_at_the_nearest_rank() -> None:
    ten = numbers(*map(str, range(10, 0, -1)))

    said = {percent: values(percentile(percent), [ten])["k"] for percent in ("0.1", "10", "10.1", "50", "95", "100")}
    assert said == {"0.1": "1", "10": "1", "10.1": "2", "50": "5", "95": "10", "100": "10"}


def test_a_percentile_counts_equal_numbers_of_every_part() -> None:
    assert values(percentile("50"), [numbers("7", "1"), numbers("7.0"), numbers("-3", "7")]) == {"k": "7"}
    assert values(percentile("20"), [numbers("7", "1"), numbers("7.0"), numbers("-3", "7")]) == {"k": "-3"}


def test_a_percentile_is_one_of_the_numbers_to_the_last_digit() -> None:
    assert values(percentile("99.999999999999"), [numbers(LARGEST, "0")]) == {"k": LARGEST}


def test_a_percentile_over_too_many_different_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.aggregator.aggregations.percentile.NUMBERS_MAX", 2)

    assert values(percentile("50"), [numbers("1", "2", "2")]) == {"k": "2"}
    with pytest.raises(RuleViolated, match="narrow the range"):
        values(percentile("50"), [numbers("1", "2", "3")])


def test_integrals_add_up_and_are_divided_by_an_hour_once_half_up() -> None:
    """1,800,000,000 units times microseconds are half a unit-hour; a third of a picounit-hour is rounded at the end."""
    assert values(WEIGHTED_SUM, [numbers("1800000000"), numbers("900000000", "900000000")]) == {"k": "1"}
    assert values(WEIGHTED_SUM, [numbers("0.0018"), numbers("0")]) == {"k": "0.000000000001"}
    assert values(WEIGHTED_SUM, [numbers("-0.0018"), numbers("0")]) == {"k": "-0.000000000001"}
    assert values(WEIGHTED_SUM, [numbers("0.001799999999")]) == {"k": "0"}


@pytest.mark.parametrize("name", sorted(name for name, each in AGGREGATIONS.items() if not each.is_from_usage))
def test_keys_do_not_mix(name: str) -> None:
    full = {"count": 1, "at_us": 1, "position": 1, "row": 1, "text": "x"}
    parts = [states(("a", {**full, "number": Decimal(3)}), ("b", {**full, "number": Decimal(8)}))]

    expected = {"count": ("1", "1"), "unique_count": ("1", "1")}.get(name, ("3", "8"))
    assert values(AGGREGATIONS[AggregationName(name)], parts) == dict(zip("ab", expected, strict=True))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12.5", "12.5"),
        ("007", "7"),
        ("-0", "0"),
        ("0.000000000001", "0.000000000001"),
        (LARGEST, LARGEST),
        ("-1", "-1"),
    ],
)
def test_plain_decimal_text_is_a_number_and_has_one_text(text: str, number: str) -> None:
    assert decimal_texts(parse_decimals(pa.array([text]).dictionary_encode())).to_pylist() == [number]


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1 ", "1\n", "+1", "1e3", "1E-2", "NaN", "Infinity", ".5", "5.", "0x10", "1_000", "1,5", "٣", "9" * 27],
)
def test_any_other_text_is_no_number(text: str) -> None:
    assert parse_decimals(pa.array([text, "1", None]).dictionary_encode()).to_pylist() == [None, Decimal(1), None]
