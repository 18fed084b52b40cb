"""Tells for nearly every key that a run does not hold that it does not: a Bloom filter with one 64-bit word a key.

F. Putze, P. Sanders and J. Singler, "Cache-, hash- and space-efficient Bloom filters", 2007. Words follow the order
of the keys, so a filter is written in one pass with the run that it belongs to.
"""

import numpy as np

from services.ingest.index_entries import I64, U64, Mask

KEYS_PER_WORD = 4
"""16 bits a key; of the keys that are not there 0.7 % pass."""

_BITS = 5
_BIT = np.uint64(6)
_HALF = np.uint64(32)
_ONE, _LAST_BIT = np.uint64(1), np.uint64(63)


def words_for(keys: int) -> int:
    """How many words the filter of so many keys has."""
    return -(-keys // KEYS_PER_WORD) + 1


def marks_of(lo: U64) -> U64:
    """The bits that each key sets in its word."""
    marks = _ONE << (lo & _LAST_BIT)
    for bit in range(1, _BITS):
        marks |= _ONE << ((lo >> (_BIT * np.uint64(bit))) & _LAST_BIT)
    return marks


def words_of(hi: U64, words: int) -> I64:
    """The word of each key in a filter of so many words, at most 2^32; in the order of the keys."""
    return (((hi >> _HALF) * np.uint64(words)) >> _HALF).astype(np.int64)


def may_hold(words: U64, hi: U64, marks: U64) -> Mask:
    """For each key whether the run may hold it."""
    is_set: Mask = (words[words_of(hi, len(words))] & marks) == marks
    return is_set


class GrowingFilter:
    """Makes a filter of keys that come in order, part by part, and lets go of the words that are complete."""

    def __init__(self, words: int) -> None:
        self._words = words
        self._start = 0
        self._open = np.zeros(1, np.uint64)

    def add(self, hi: U64, lo: U64) -> U64:
        """The words that are complete once these keys are in, behind those given before."""
        if not len(hi):
            return np.zeros(0, np.uint64)
        words = words_of(hi, self._words) - self._start
        return self._grown(int(words[-1]), words, marks_of(lo))

    def rest(self) -> U64:
        """The words that are left when all keys are in."""
        nothing = np.zeros(0, np.uint64)
        return self._grown(self._words - self._start, nothing.astype(np.int64), nothing)

    def _grown(self, last: int, words: I64, marks: U64) -> U64:
        grown = np.zeros(last + 1, np.uint64)
        grown[0] = self._open[0]
        np.bitwise_or.at(grown, words, marks)
        self._start += last
        self._open = grown[-1:]
        return grown[:-1]
