"""Whole columns of exact decimals, from text and to text, by the rules of kernel/quantity."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.kernel.quantity import DECIMAL_PATTERN, FRACTION_DIGITS_MAX, decimal_text

NUMBER = pa.decimal256(76, 12)
"""Wide enough for the sum of 10^38 usage events of the largest value."""

_NARROW = pa.decimal128(38, FRACTION_DIGITS_MAX)
_PLAIN = f"^(?:{DECIMAL_PATTERN})$"


def parse_decimals(texts: pa.DictionaryArray) -> pa.Array:
    """The numbers of a dictionary-coded text column; null where the text is missing or no plain decimal."""
    different = texts.dictionary
    plain = pc.if_else(pc.match_substring_regex(different, _PLAIN), different, None)
    return plain.cast(NUMBER).take(texts.indices)


def decimal_texts(numbers: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The one text of each number, as kernel/quantity writes it; null stays null."""
    column = numbers.combine_chunks() if isinstance(numbers, pa.ChunkedArray) else numbers
    written = column.cast(pa.utf8())
    texts = pc.ascii_rtrim(pc.ascii_rtrim(written, "0"), ".")
    return _without_exponents(column, pc.match_substring(written, "E"), texts)


def trillionths(numbers: pa.Array) -> npt.NDArray[np.int64] | None:
    """Numbers of decimal128(38, 12), none null, in units of a trillionth; None when not all of them fit 64 bits."""
    buffer = numbers.buffers()[1]
    if buffer is None:
        return None
    halves = np.frombuffer(buffer, np.int64)[2 * numbers.offset : 2 * (numbers.offset + len(numbers))].reshape(-1, 2)
    low, high = halves[:, 0], halves[:, 1]
    return np.ascontiguousarray(low) if np.array_equal(high, low >> 63) else None


def from_trillionths(integers: npt.NDArray[np.int64]) -> pa.Array:
    """The numbers of decimal128(38, 12) that `trillionths` was asked about."""
    halves = np.stack([integers, integers >> 63], axis=1)
    return pa.Array.from_buffers(_NARROW, len(integers), [None, pa.py_buffer(halves)])


def _without_exponents(numbers: pa.Array, has_exponent: pa.Array, texts: pa.Array) -> pa.Array:
    """Arrow writes zero and numbers below a millionth with an exponent; these few go through Decimal."""
    exceptions = numbers.filter(has_exponent).to_pylist()
    if not exceptions:
        return texts
    return pc.replace_with_mask(texts, has_exponent, pa.array(map(decimal_text, exceptions), pa.utf8()))
