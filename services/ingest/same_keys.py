"""Which usage events of a group are one and the same: the first of each key, found by sorting."""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def first_rows(keys: NDArray[np.void]) -> Rows | None:
    """For each row the first row with the same key; None when all keys differ, as they nearly always do.

    `keys` has the fields "hi" and "lo", uint64 each. Nearly always the upper halves tell already that all differ.
    """
    if len(keys) < 2:
        return None
    upper = np.sort(keys["hi"])
    if not (upper[1:] == upper[:-1]).any():
        return None
    return _first_rows(keys)


def _first_rows(keys: NDArray[np.void]) -> Rows | None:
    order = np.lexsort((keys["lo"], keys["hi"]))  # stable: equal keys stay in the order of their rows
    upper, lower = keys["hi"][order], keys["lo"][order]
    is_other = np.ones(len(keys), np.bool_)
    is_other[1:] = (upper[1:] != upper[:-1]) | (lower[1:] != lower[:-1])
    if is_other.all():
        return None
    firsts = np.empty(len(keys), np.int64)
    firsts[order] = order[np.flatnonzero(is_other)][np.cumsum(is_other) - 1]
    return firsts
