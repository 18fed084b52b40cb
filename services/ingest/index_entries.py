"""Entries of the dedupe index as parallel columns: the key in two halves, what it says, and where it stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from services.kernel.errors import Unavailable

U64: TypeAlias = npt.NDArray[np.uint64]
I64: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]

ENTRY_BYTES = 32


class IndexBroken(Unavailable):
    """The index cannot be used as it is; it will be built anew from the log. The log itself is untouched."""

    default_reason = "DEDUPE_INDEX_BROKEN"


class IndexUnwritten(IndexBroken):
    """A file of the index cannot be written, for want of room as a rule; those that are there are as they were."""


@dataclass(frozen=True, slots=True)
class Entries:
    """One entry a row; `positions` are positions in the log. Older entries of a key stand before newer ones."""

    hi: U64
    lo: U64
    contents: U64
    positions: I64

    def __len__(self) -> int:
        return len(self.hi)

    def columns(self) -> tuple[U64, U64, U64, I64]:
        """All four columns, in the order in which they are stored."""
        return self.hi, self.lo, self.contents, self.positions

    def part(self, start: int, end: int) -> "Entries":
        """The rows from `start` up to and without `end`."""
        return Entries(self.hi[start:end], self.lo[start:end], self.contents[start:end], self.positions[start:end])


def joined(parts: Sequence[Entries]) -> Entries:
    """The entries of all parts, in order; at least one part."""
    if len(parts) == 1:
        return parts[0]
    hi, lo, contents, positions = zip(*(part.columns() for part in parts), strict=True)
    return Entries(np.concatenate(hi), np.concatenate(lo), np.concatenate(contents), np.concatenate(positions))


def in_key_order(entries: Entries, *, order: I64 | None = None) -> Entries:
    """The first entry of each key, by key. What is in order already in parts is merged at the speed of a copy.

    `order` is the stable order of the upper halves, where it is known.
    """
    if order is None:
        order = np.argsort(entries.hi, kind="stable")
    hi = entries.hi[order]
    if (hi[1:] == hi[:-1]).any():
        order = np.lexsort((entries.lo, entries.hi))  # stable, too: the first entry of a key comes first
        hi, lo = entries.hi[order], entries.lo[order]
        is_other = np.ones(len(hi), np.bool_)
        is_other[1:] = (hi[1:] != hi[:-1]) | (lo[1:] != lo[:-1])
        order = order[is_other]
        hi = entries.hi[order]
    return Entries(hi, entries.lo[order], entries.contents[order], entries.positions[order])


def order_of(values: U64) -> I64:
    """The stable order of values in no order at all.

    The upper bits of each value and its row are sorted as one number, which takes half the time of sorting rows by
    value; should two values agree in the upper bits and stand the wrong way round, they are sorted the slow way.
    """
    row_bits = np.uint64(len(values).bit_length())
    packed = (values >> row_bits << row_bits) | np.arange(len(values), dtype=np.uint64)
    packed.sort()
    order = (packed & ((np.uint64(1) << row_bits) - np.uint64(1))).astype(np.int64)
    ordered = values[order]
    return np.argsort(values, kind="stable") if (ordered[1:] < ordered[:-1]).any() else order
