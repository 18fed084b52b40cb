"""Whole columns of exact decimals, from text and to text, by the rules of kernel/quantity."""

import pyarrow as pa
import pyarrow.compute as pc

from services.kernel.quantity import DECIMAL_PATTERN, decimal_text

NUMBER = pa.decimal256(76, 12)
"""Wide enough for the sum of 10^38 usage events of the largest value."""

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


def _without_exponents(numbers: pa.Array, has_exponent: pa.Array, texts: pa.Array) -> pa.Array:
    """Arrow writes zero and numbers below a millionth with an exponent; these few go through Decimal."""
    exceptions = numbers.filter(has_exponent).to_pylist()
    if not exceptions:
        return texts
    return pc.replace_with_mask(texts, has_exponent, pa.array(map(decimal_text, exceptions), pa.utf8()))
