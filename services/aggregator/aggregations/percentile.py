"""Percentile: of n numbers in order the one at rank ceil(p / 100 * n), which is the nearest rank, exact.

A state is one different number and how many usage events say it, so the number is one of its keys.
"""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.aggregations.aggregation import Aggregation, AggregationName, Merge
from services.aggregator.aggregations.grouping import group, key_codes, with_value
from services.aggregator.decimal_column import NUMBER, decimal_texts
from services.kernel.errors import RuleViolated
from services.kernel.quantity import FRACTION_DIGITS_MAX

NUMBERS_MAX = 3_000_000
"""Different numbers, over all windows and groups, that are held at once: half a gigabyte while they are merged."""

# Half as wide as NUMBER, and wide enough for the number of one usage event: grouped in a third of the time.
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
        AggregationName.PERCENTILE, ("number", "count"), _merge, quantities, is_from_usage=True, keeps_hours=False
    )


def _merge(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    place = states.schema.get_field_index("number")
    narrow = states.set_column(place, "number", states["number"].cast(_NARROW))
    merged = group(narrow, [*keys, "number"], {"count": "sum"})
    if merged.num_rows > NUMBERS_MAX:
        raise RuleViolated(
            f"a percentile over more than {NUMBERS_MAX} different numbers; narrow the range, or ask for fewer subjects",
            reason="TOO_MANY_NUMBERS",
        )
    return merged.set_column(len(keys), "number", merged["number"].cast(NUMBER))


def _at_rank(states: pa.Table, keys: Sequence[str], parts: int) -> pa.Table:
    """One row a key: the number at its rank; `parts` of _WHOLE lie at or below it. A number may come more than once."""
    codes = key_codes(states, keys)
    order = _order(codes, states["number"].cast(_NARROW).combine_chunks())
    counted = np.cumsum(states["count"].combine_chunks().take(order).to_numpy())
    ends = np.cumsum(np.bincount(codes.to_numpy())) - 1
    until = counted[ends] if len(ends) else counted
    before = np.concatenate(([0], until[:-1]))[: len(until)]
    # Python's integers, because parts times counts passes 64 bits.
    ranks = [-(-parts * count // _WHOLE) for count in (until - before).tolist()]
    rows = np.searchsorted(counted, before + np.array(ranks, np.int64), side="left")
    chosen = states.take(order.take(pa.array(rows)))
    return with_value(chosen, keys, decimal_texts(chosen["number"]))


def _order(codes: pa.Array, numbers: pa.Array) -> pa.Array:
    """The rows by key, then number."""
    integers = _integers(numbers)
    if integers is not None:
        return pa.array(np.lexsort((integers, codes.to_numpy())))
    keys = [("code", "ascending"), ("number", "ascending")]
    return pc.sort_indices(pa.table({"code": codes, "number": numbers}), sort_keys=keys)


def _integers(numbers: pa.Array) -> npt.NDArray[np.int64] | None:
    """The numbers in units of a trillionth, when all fit 64 bits; these are put in order five times as fast."""
    buffer = numbers.buffers()[1]
    if buffer is None:
        return None
    halves = np.frombuffer(buffer, np.int64)[2 * numbers.offset : 2 * (numbers.offset + len(numbers))].reshape(-1, 2)
    low, high = halves[:, 0], halves[:, 1]
    return low if np.array_equal(high, low >> 63) else None


def _asks_without_percentile(_states: pa.Table, _keys: Sequence[str]) -> pa.Table:
    raise AssertionError("the meter knows its percentile: ask aggregation_of(meter)")


PERCENTILE = _of(_asks_without_percentile)
