"""What goes wrong in a load, in seeded shares: usage events that are sent again, changed, or malformed."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_THOUSAND: Final = 1_000
_FAR_AHEAD: Final = timedelta(days=36_500)
_LATER_VALUE: Final = 1


@dataclass(frozen=True, slots=True)
class Shares:
    """Of a thousand usage events: so many are repeats of an earlier one, repeats with another value, and malformed.

    A repeat is of a usage event at most one block earlier. A malformed one has no id, no subject, or a time far ahead.
    """

    duplicate_per_mille: int = 0
    conflict_per_mille: int = 0
    wrong_per_mille: int = 0


def spoiled(block: pa.RecordBatch, shares: Shares, source: np.random.Generator) -> pa.RecordBatch:
    """The block with its share of repeats and malformed usage events; the same number of rows."""
    if shares == Shares():
        return block
    draw = source.integers(0, _THOUSAND, block.num_rows)
    first, second = shares.duplicate_per_mille, shares.duplicate_per_mille + shares.conflict_per_mille
    is_repeat, is_changed = draw < second, (draw >= first) & (draw < second)
    is_wrong = (draw >= second) & (draw < second + shares.wrong_per_mille)
    repeated = block.take(pa.array(_origins(is_repeat, is_wrong, source)))
    kinds = source.integers(0, 3, block.num_rows)
    columns = {name: repeated.column(name) for name in block.schema.names}
    columns["value"] = _changed(columns["value"], is_changed)
    columns["id"] = _emptied(columns["id"], is_wrong & (kinds == 0))
    columns["subject"] = _emptied(columns["subject"].cast(pa.utf8()), is_wrong & (kinds == 1)).dictionary_encode()
    columns["time"] = _ahead(columns["time"], is_wrong & (kinds == 2))
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=block.schema)


def _origins(is_repeat: "np.ndarray", is_wrong: "np.ndarray", source: np.random.Generator) -> "np.ndarray":
    """For each row the row that it shows: itself, or for a repeat an earlier well-formed one that is no repeat."""
    is_first = ~is_repeat & ~is_wrong
    firsts = np.flatnonzero(is_first)
    earlier = np.searchsorted(firsts, np.arange(len(is_first)))
    chosen = source.integers(0, np.maximum(earlier, 1))
    has_origin = is_repeat & (earlier > 0)
    return np.where(
        has_origin, firsts[np.minimum(chosen, len(firsts) - 1)] if len(firsts) else 0, np.arange(len(is_first))
    )


def _changed(values: pa.Array, where: "np.ndarray") -> pa.Array:
    words = (
        np.frombuffer(values.buffers()[1], np.int64).reshape(-1, 2)[values.offset : values.offset + len(values)].copy()
    )
    words[where, 0] += _LATER_VALUE
    return pa.Array.from_buffers(values.type, len(values), [None, pa.py_buffer(words)])


def _emptied(texts: pa.Array, where: "np.ndarray") -> pa.Array:
    return pc.if_else(pa.array(where), pa.scalar("", pa.utf8()), texts)


def _ahead(times: pa.Array, where: "np.ndarray") -> pa.Array:
    later_us = np.where(where, _FAR_AHEAD // timedelta(microseconds=1), 0)
    return pa.array(times.cast(pa.int64()).to_numpy() + later_us).cast(times.type)
