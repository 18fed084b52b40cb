"""The rules that usage events in columns must keep: those of rules.py, asked of whole Arrow columns.

Each function tells which rows break its rule; only of these the words are made, by the same functions as for rows.
"""

from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from services.ingest.rules import (
    IDENTIFIER_CHARACTERS_MAX,
    PROPERTY_TEXT_CHARACTERS_MAX,
    RESERVED_SOURCE_PREFIX,
)
from services.kernel.quantity import DECIMAL_PATTERN

Mask: TypeAlias = NDArray[np.bool_]

_CONTROL_CHARACTERS: Final = r"[\x00-\x1f\x7f-\x{9f}]"
_DECIMAL_TEXT: Final = rf"\A(?:{DECIMAL_PATTERN})\z"
_BLANK, _DELETE, _C1_LEAD = 0x20, 0x7F, 0xC2
_OFFSETS: Final = np.int32


def are_not_identifiers(texts: pa.StringArray) -> Mask:
    """Which texts are not 1 to 256 characters without control characters; `texts` has no nulls."""
    lengths = _lengths(texts)
    is_wrong: Mask = (lengths == 0) | (lengths > IDENTIFIER_CHARACTERS_MAX)
    if _may_have_control_characters(_content(texts)):
        is_wrong |= _mask(pc.match_substring_regex(texts, _CONTROL_CHARACTERS))
    return is_wrong


def are_not_sources(texts: pa.StringArray, prefix: str) -> Mask:
    """As identifiers; none of the reserved form, none too long once `prefix` stands before it."""
    is_too_long = _lengths(texts) > IDENTIFIER_CHARACTERS_MAX - len(prefix)
    is_reserved = _mask(pc.starts_with(texts, RESERVED_SOURCE_PREFIX))
    return are_not_identifiers(texts) | is_too_long | is_reserved


def are_not_property_texts(texts: pa.StringArray) -> Mask:
    """Which texts have more than 1,024 characters, or U+0000 among them; `texts` has no nulls."""
    is_wrong: Mask = _lengths(texts) > PROPERTY_TEXT_CHARACTERS_MAX
    if (_content(texts) == 0).any():
        is_wrong |= _mask(pc.match_substring(texts, "\0"))
    return is_wrong


def are_decimals(texts: pa.StringArray) -> Mask:
    """Which texts are plain decimal text within the limits on digits; `texts` has no nulls."""
    return _mask(pc.match_substring_regex(texts, _DECIMAL_TEXT))


def _may_have_control_characters(content: NDArray[np.uint8]) -> bool:
    """Whether a byte is one of C0, or may be the first of one of C1 (U+0080 to U+009F are C2 80 to C2 9F in UTF-8)."""
    return bool(((content < _BLANK) | (content == _DELETE) | (content == _C1_LEAD)).any())


def _content(texts: pa.StringArray) -> NDArray[np.uint8]:
    """The bytes of all texts, one behind the other."""
    if not len(texts):
        return np.zeros(0, np.uint8)
    _, offsets, content = texts.buffers()
    edges = np.frombuffer(offsets, _OFFSETS, texts.offset + len(texts) + 1)
    first, end = int(edges[texts.offset]), int(edges[-1])
    return np.frombuffer(content, np.uint8)[first:end] if end > first else np.zeros(0, np.uint8)


def _lengths(texts: pa.StringArray) -> NDArray[np.int32]:
    lengths: NDArray[np.int32] = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
    return lengths


def _mask(flags: pa.BooleanArray) -> Mask:
    mask: Mask = flags.to_numpy(zero_copy_only=False)
    return mask
