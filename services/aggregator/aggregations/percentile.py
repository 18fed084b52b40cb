"""Percentile: of n numbers in order the one at rank ceil(p / 100 * n), which is the nearest rank, exact.

A state is one number and how many usage events say it; when they are merged, each different number of a key is one.
"""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.aggregations.aggregation import Aggregation, AggregationName, Merge
from services.aggregator.aggregations.grouping import group, key_codes, with_value
from services.aggregator.aggregations.ranking import Integers, distinct, first_rows, has_few_keys, numbers_at
from services.aggregator.states.decimal_column import NUMBER, decimal_texts, from_trillionths, trillionths
from services.kernel.errors import RuleViolated
from services.kernel.quantity import FRACTION_DIGITS_MAX

NUMBERS_MAX = 3_000_000
"""Different numbers, over all windows and groups, that are held at once: half a gigabyte while they are merged."""

# Half as wide as NUMBER, and wide enough for the number of one usage event.
_NARROW = pa.decimal128(38, FRACTION_DIGITS_MAX)
_WHOLE = 100 * 10**FRACTION_DIGITS_MAX


def percentile(percent: str) -> Aggregation:
    """The aggregation for the percentile `percent`: decimal text above 0 and at most 100."""
    parts = int(Decimal(percent).scaleb(FRACTION_DIGITS_MAX))

    def quantities(states: pa.Table, keys: Sequence[str]) -> pa.Table:
        return _at_rank(states, keys, parts)

    return _of(quantities)


def _of(quantities: Merge) -> Aggregation:
    return Aggregation(
        AggregationName.PERCENTILE,
        ("number", "count"),
        _merge,
        quantities,
        is_from_usage=True,
        keeps_hours=False,
        merges_late=True,
    )


def _merge(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    numbers = _narrow(states)
    integers = trillionths(numbers)
    merged = _grouped(states, keys, numbers) if integers is None else _joined(states, keys, integers)
    if merged.num_rows > NUMBERS_MAX:
        raise RuleViolated(
            f"a percentile over more than {NUMBERS_MAX} different numbers; narrow the range, or ask for fewer subjects",
            reason="TOO_MANY_NUMBERS",
        )
    return merged


def _grouped(states: pa.Table, keys: Sequence[str], numbers: pa.Array) -> pa.Table:
    """One row a key and different number, with the sum of its counts."""
    narrow = states.set_column(states.schema.get_field_index("number"), "number", numbers)
    merged = group(narrow, [*keys, "number"], {"count": "sum"})
    return merged.set_column(len(keys), "number", merged["number"].cast(NUMBER))


def _joined(states: pa.Table, keys: Sequence[str], integers: Integers) -> pa.Table:
    """The same of numbers that fit 64 bits, in a third of the memory."""
    rows, different, counts = distinct(key_codes(states, keys).to_numpy(), integers, states["count"].to_numpy())
    merged = states.select(list(keys)).combine_chunks().take(pa.array(rows))
    return merged.append_column("number", from_trillionths(different).cast(NUMBER)).append_column("count", [counts])


def _at_rank(states: pa.Table, keys: Sequence[str], parts: int) -> pa.Table:
    """One row a key: the number at its rank; `parts` of _WHOLE lie at or below it. A number may come more than once."""
    codes, numbers = key_codes(states, keys).to_numpy(), _narrow(states)
    integers = trillionths(numbers)
    if integers is None or not has_few_keys(codes):
        return _at_rank_in_order(states, keys, parts, _order(codes, numbers, integers))
    # Python's integers, because parts times counts passes 64 bits.
    chosen = numbers_at(codes, integers, states["count"].to_numpy(), lambda count: -(-parts * count // _WHOLE))
    of_keys = states.select(list(keys)).take(pa.array(first_rows(codes)))
    return with_value(of_keys, keys, decimal_texts(from_trillionths(chosen)))


def _at_rank_in_order(states: pa.Table, keys: Sequence[str], parts: int, order: Integers) -> pa.Table:
    """The same for any number of keys and any numbers; `order` has the rows by key, then number."""
    ordered = states.take(pa.array(order))
    codes, counted = key_codes(ordered, keys).to_numpy(), np.cumsum(ordered["count"].to_numpy())
    ends = np.cumsum(np.bincount(codes)) - 1
    until = counted[ends] if len(ends) else counted
    before = np.concatenate(([0], until[:-1]))[: len(until)]
    ranks = [-(-parts * count // _WHOLE) for count in (until - before).tolist()]
    chosen = ordered.take(pa.array(np.searchsorted(counted, before + np.array(ranks, np.int64), side="left")))
    return with_value(chosen, keys, decimal_texts(chosen["number"]))


def _order(codes: Integers, numbers: pa.Array, integers: Integers | None) -> Integers:
    """The rows by key, then number; 64-bit integers are put in order five times as fast as decimals."""
    if integers is not None:
        return np.lexsort((integers, codes))
    keys = [("code", "ascending"), ("number", "ascending")]
    ordered = pc.sort_indices(pa.table({"code": codes, "number": numbers}), sort_keys=keys)
    return np.asarray(ordered.to_numpy(), np.int64)


def _narrow(states: pa.Table) -> pa.Array:
    return states["number"].cast(_NARROW).combine_chunks()


def _asks_without_percentile(_states: pa.Table, _keys: Sequence[str]) -> pa.Table:
    raise AssertionError("the meter knows its percentile: ask aggregation_of(meter)")


PERCENTILE = _of(_asks_without_percentile)
