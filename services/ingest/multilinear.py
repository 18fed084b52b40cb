"""Keyed digests of texts and words, many rows at once: MULTILINEAR, a strongly universal family of hash functions.

A field of a row is a vector of 32-bit words, its sum the inner product with secret 64-bit multipliers, modulo 2^64.
Sums of several fields add up, and the upper 32 bits of a sum are one lane of a digest. For any two different vectors,
one lane agrees with probability 2^-32 over the choice of the multipliers, and lanes are independent (D. Lemire and
O. Kaser, "Strongly universal string hashing is fast", The Computer Journal 57 (11), 2014, theorem 3.1).
"""

from collections.abc import Iterator, Sequence
from hashlib import shake_256
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from services.kernel.errors import Corrupt

Words: TypeAlias = npt.NDArray[np.uint32]
Sums: TypeAlias = npt.NDArray[np.uint64]

TEXT_BYTES_MAX = 4_096
"""1,024 characters of UTF-8: no text of a usage event is longer (rules.py)."""

BLOCK_BYTES = 1 << 18
"""Text that is worked on at once: what the processor keeps near."""

TOGETHER_TEXTS_MAX = 512
"""So many texts of several columns are worked on together: a column of a few costs as much as one of hundreds."""

_WORD_BYTES = 4
_RAGGED = 2
"""Rows are worked on by length when the longest is so many times as long as they are on average."""


def multipliers(secret: bytes, purpose: str, words: int, lanes: int) -> Sums:
    """Multipliers for `words` words, `words` × `lanes`: SHAKE-256 of secret and purpose, little-endian."""
    drawn = shake_256(len(secret).to_bytes(2) + secret + purpose.encode()).digest(words * lanes * 8)
    return np.frombuffer(drawn, "<u8").astype(np.uint64).reshape(words, lanes)


def lanes_of(sums: Sums) -> Sums:
    """The lanes of a digest: the upper halves of its sums."""
    return sums >> np.uint64(32)


class TextField:
    """A field that holds text: its bytes in words of four, filled up with zeros, and before them their number.

    The zeros add nothing to a sum, so it does not depend on the other rows. Pure, safe in any number of threads.
    """

    def __init__(self, secret: bytes, name: str, lanes: int) -> None:
        """`name` tells this field's multipliers from those of others."""
        self._multipliers = multipliers(secret, name, 1 + TEXT_BYTES_MAX // _WORD_BYTES, lanes)

    def sums(self, texts: pa.Array) -> Sums:
        """The sums of each text, rows × lanes; those of a null are not defined. `texts` is of the type utf8.

        Raises Corrupt for a text of more than TEXT_BYTES_MAX bytes.
        """
        starts, lengths, content = _bytes_of(texts)
        if lengths.max(initial=0) > TEXT_BYTES_MAX:
            raise Corrupt(f"a text of a usage event has more than {TEXT_BYTES_MAX} bytes; verify the audit chain")
        sums = np.empty((len(texts), self._multipliers.shape[1]), np.uint64)
        for rows in _blocks(lengths):
            sums[rows] = self._sums(starts[rows], lengths[rows], content)
        return sums

    def _sums(
        self, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], content: npt.NDArray[np.uint8]
    ) -> Sums:
        return self.sums_of_words(_words(starts, lengths, content).astype(np.uint64), lengths.astype(np.uint64))

    def sums_of_words(self, words: Sums, lengths: Sums) -> Sums:
        """The sums of texts whose words, rows × words, are filled up with zeros; `lengths` in bytes."""
        sums: Sums = words @ self._multipliers[1 : 1 + words.shape[1]]
        sums += lengths[:, None] * self._multipliers[0]
        return sums


def sums_of_columns(columns: Sequence[tuple[TextField, pa.Array]]) -> list[Sums]:
    """The sums of each column by its own field, as `TextField.sums` has them; at least one column."""
    if sum(len(texts) for _, texts in columns) > TOGETHER_TEXTS_MAX:
        return [field.sums(texts) for field, texts in columns]
    starts, lengths, content = _bytes_of(pa.concat_arrays([texts for _, texts in columns]))
    if int(lengths.max(initial=0)) > BLOCK_BYTES // TOGETHER_TEXTS_MAX:
        return [field.sums(texts) for field, texts in columns]
    words, sizes = _words(starts, lengths, content).astype(np.uint64), lengths.astype(np.uint64)
    sums, start = list[Sums](), 0
    for field, texts in columns:
        end = start + len(texts)
        sums.append(field.sums_of_words(words[start:end], sizes[start:end]))
        start = end
    return sums


def _bytes_of(texts: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Where each text starts, its length, and all bytes with TEXT_BYTES_MAX more behind them."""
    _, offsets, content = texts.buffers()
    if not len(texts) or offsets is None:
        return np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64), np.zeros(TEXT_BYTES_MAX, np.uint8)
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    first, size = int(ends[0]), int(ends[-1] - ends[0])
    padded = np.zeros(size + TEXT_BYTES_MAX, np.uint8)
    if size:
        padded[:size] = np.frombuffer(content, np.uint8)[first : first + size]
    return ends[:-1] - first, np.diff(ends), padded


def _blocks(lengths: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64] | slice]:
    """The rows in blocks; rows of very different lengths by length, so that one long text does not widen all others."""
    count = len(lengths)
    longest = int(lengths.max(initial=1)) + _WORD_BYTES
    if longest * count <= max(BLOCK_BYTES, _RAGGED * (int(lengths.sum()) + _WORD_BYTES * count)):
        step = max(1, BLOCK_BYTES // longest)
        yield from (slice(start, start + step) for start in range(0, count, step))
        return
    by_length = np.argsort(lengths, kind="stable")
    start = 0
    while start < count:
        step = max(1, BLOCK_BYTES // (_RAGGED * (int(lengths[by_length[start]]) + _WORD_BYTES)))
        fits = np.searchsorted(lengths[by_length], _RAGGED * (int(lengths[by_length[start]]) + _WORD_BYTES))
        end = max(start + 1, min(start + step, int(fits)))
        yield by_length[start:end]
        start = end


def _words(starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], content: npt.NDArray[np.uint8]) -> Words:
    """The bytes of each row as words, rows × words, filled up with zeros to the longest."""
    longest = int(lengths.max(initial=0))
    width = -(-longest // _WORD_BYTES) * _WORD_BYTES
    if not width:
        return np.zeros((len(starts), 0), np.uint32)
    # A view of every `width` bytes that begin anywhere: one gather then copies a whole text.
    anywhere = np.ndarray((len(content) - width + 1,), f"V{width}", content.data, strides=(1,))
    rows = anywhere[starts].view(np.uint8).reshape(len(starts), width)
    if int(lengths.min()) < width:
        rows *= np.arange(width) < lengths[:, None]
    return rows.view("<u4").astype(np.uint32, copy=False)
