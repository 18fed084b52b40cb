"""Numbers of keys: the one at a rank, and the different ones. Pure."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

KEYS_MAX = 1_000
ROWS_PER_KEY = 64
"""More keys, or fewer rows a key than that, are looked through faster when all rows are put in order."""

REPEATS_MAX = 2
"""Usage events a number, on average, up to which it is written down once for each of them."""


def has_few_keys(codes: Integers) -> bool:
    """Whether `numbers_at` answers, and quickly; `codes` numbers the key of each row from 0 without gaps."""
    keys = int(codes.max(initial=-1)) + 1
    return 0 < keys <= min(KEYS_MAX, len(codes) // ROWS_PER_KEY)


def numbers_at(codes: Integers, numbers: Integers, counts: Integers, rank: Callable[[int], int]) -> Integers:
    """For each key, by its code, the number at the rank (from 1) that `rank` says for so many usage events.

    Each row is a number that `counts` usage events of its key say. For `has_few_keys`.
    """
    order = np.argsort(codes.astype(np.int16), kind="stable") if codes.any() else slice(None)
    ends = np.cumsum(np.bincount(codes))
    said = zip(np.split(numbers[order], ends[:-1]), np.split(counts[order], ends[:-1]), strict=True)
    return np.array([_number_at(some, of_some, rank) for some, of_some in said], np.int64)


def distinct(codes: Integers, numbers: Integers, counts: Integers) -> tuple[Integers, Integers, Integers]:
    """By key, then number, for each different one: a row that says it, the number, and the sum of its counts."""
    order = np.lexsort((numbers, codes))
    codes, numbers = codes[order], numbers[order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (codes[1:] != codes[:-1]) | (numbers[1:] != numbers[:-1])
    firsts = np.flatnonzero(is_first)
    sums = np.add.reduceat(counts[order], firsts) if len(firsts) else counts[:0]
    return order[firsts], numbers[firsts], sums


def first_rows(codes: Integers) -> Integers:
    """The first row of each key, by its code."""
    firsts = np.zeros(int(codes.max(initial=-1)) + 1, np.int64)
    # Of rows with one code the one that is written last stands.
    firsts[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return firsts


def _number_at(numbers: Integers, counts: Integers, rank: Callable[[int], int]) -> int:
    count = int(counts.sum())
    place = rank(count)
    if count <= REPEATS_MAX * len(numbers):
        each = numbers if count == len(numbers) else np.repeat(numbers, counts)
        return int(np.partition(each, place - 1)[place - 1])
    order = np.argsort(numbers)
    return int(numbers[order][np.searchsorted(np.cumsum(counts[order]), place, side="left")])
