"""A percentile is the number at the nearest rank, however usage was cut, merged and grouped on the way."""

from collections import defaultdict
from decimal import Decimal
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.aggregator.aggregations import ranking
from services.aggregator.aggregations.percentile import percentile
from services.aggregator.states.decimal_column import NUMBER

KEYS = ["window", "group"]
WIDEST = "99999999999999999999999999.999999999999"

numbers = st.one_of(
    st.integers(-5, 5).map(Decimal),
    st.decimals(-1_000_000, 1_000_000, places=12),
    st.sampled_from([Decimal(WIDEST), Decimal(f"-{WIDEST}")]),
)
narrow = st.one_of(st.integers(-5, 5).map(Decimal), st.decimals(-1_000_000, 1_000_000, places=6))
percents = st.sampled_from(["0.000000000001", "25", "50", "95", "99.9", "100"])


def states_of(of_numbers: st.SearchStrategy[Decimal]) -> st.SearchStrategy[list[tuple[int, str, Decimal, int]]]:
    """Window, group, number, and how many usage events say it."""
    counts = st.one_of(st.just(1), st.integers(1, 9))
    return st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab"), of_numbers, counts), max_size=60)


def table(states: list[tuple[int, str, Decimal, int]]) -> pa.Table:
    kinds = [("window", pa.int64()), ("group", pa.utf8()), ("number", NUMBER), ("count", pa.int64())]
    columns = list(zip(*states, strict=True)) or [()] * len(kinds)
    return pa.table({name: pa.array(column, kind) for (name, kind), column in zip(kinds, columns, strict=True)})


def plain(states: list[tuple[int, str, Decimal, int]], percent: str) -> dict[tuple[int, str], Decimal]:
    """The same, by the definition."""
    said: dict[tuple[int, str], list[Decimal]] = defaultdict(list)
    for window, group, number, count in states:
        said[window, group] += [number] * count
    share = int(Decimal(percent) * 10**12)
    return {key: sorted(each)[-(-share * len(each) // (100 * 10**12)) - 1] for key, each in said.items()}


def values(quantities: pa.Table) -> dict[tuple[int, str], Decimal]:
    rows = quantities.to_pylist()
    found = {(row["window"], row["group"]): Decimal(row["value"]) for row in rows}
    assert len(found) == len(rows), "one row a key"
    return found


@pytest.mark.parametrize("rows_per_key", [1, ranking.ROWS_PER_KEY], ids=["picked", "in order"])
@pytest.mark.parametrize("of_numbers", [narrow, numbers], ids=["64 bits", "any"])
def test_a_percentile_does_not_depend_on_how_usage_was_cut_and_merged(
    rows_per_key: int, of_numbers: st.SearchStrategy[Decimal]
) -> None:
    @given(states=states_of(of_numbers), percent=percents, cuts=st.lists(st.integers(0, 60), max_size=3))
    def law(states: list[tuple[int, str, Decimal, int]], percent: str, cuts: list[int]) -> None:
        aggregation = percentile(percent)
        whole, edges = table(states), [0, *sorted(cuts), max(60, len(states))]
        parts = [whole.slice(first, end - first) for first, end in pairwise(edges)]
        merged = pa.concat_tables([aggregation.merge(part, KEYS) for part in parts])
        mixed = pa.concat_tables([aggregation.merge(parts[0], KEYS), *parts[1:]])
        for way in (whole, pa.concat_tables(parts), merged, mixed, aggregation.merge(merged, KEYS)):
            assert values(aggregation.quantities(way, KEYS)) == plain(states, percent)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ranking, "ROWS_PER_KEY", rows_per_key)
        law()


@given(states=states_of(numbers))
def test_merging_leaves_one_state_a_key_and_number_and_loses_no_usage_event(
    states: list[tuple[int, str, Decimal, int]],
) -> None:
    counts: dict[tuple[int, str, Decimal], int] = defaultdict(int)
    for window, group, number, count in states:
        counts[window, group, number] += count

    merged = percentile("50").merge(table(states), KEYS).to_pylist()

    assert {(row["window"], row["group"], row["number"]): row["count"] for row in merged} == counts
    assert len(merged) == len(counts)
