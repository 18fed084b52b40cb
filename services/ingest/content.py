"""What makes two usage events the same one, and what makes them equal: digests over a batch in its stored form.

Live and rebuilt index alike are folded from such batches, so both see the same digests. The parts are joined by
U+0000, which no part can hold (rules.py), so different parts never give the same text.
"""

from hashlib import blake2b

import pyarrow as pa
import pyarrow.compute as pc

from services.eventstore.usage_batch import property_column, property_keys

KEY_BYTES = 16
CONTENT_BYTES = 8

_SEPARATOR = pa.scalar("\0", pa.utf8())
_WHOLE_NUMBER = pa.decimal128(38, 0)


def key_digests(batch: pa.RecordBatch) -> list[bytes]:
    """The identity of each usage event: BLAKE2b-128 of source and id."""
    joined = pc.binary_join_element_wise(_text(batch, "source"), batch.column("id"), _SEPARATOR)
    return [blake2b(text, digest_size=KEY_BYTES).digest() for text in joined.cast(pa.binary()).to_pylist()]


def content_digests(batch: pa.RecordBatch) -> list[bytes]:
    """What each usage event says: BLAKE2b-64 of type, subject, time, value and properties.

    Time counts in microseconds, the value in units of its twelfth fractional digit, so "1" and "1.0" are equal; only
    properties that the usage event has take part, in key order.
    """
    joined = pc.binary_join_element_wise(
        _text(batch, "type"),
        _text(batch, "subject"),
        batch.column("time").cast(pa.int64()).cast(pa.utf8()),
        _units(batch.column("value")).cast(pa.utf8()),
        *(_property(batch, key) for key in property_keys(batch)),
        _SEPARATOR,
        null_handling="skip",
    )
    return [blake2b(text, digest_size=CONTENT_BYTES).digest() for text in joined.cast(pa.binary()).to_pylist()]


def _text(batch: pa.RecordBatch, column: str) -> pa.Array:
    return batch.column(column).cast(pa.utf8())


def _property(batch: pa.RecordBatch, key: str) -> pa.Array:
    """Key and text; null where the usage event has no such property."""
    return pc.binary_join_element_wise(pa.scalar(key, pa.utf8()), _text(batch, property_column(key)), _SEPARATOR)


def _units(values: pa.Array) -> pa.Array:
    """The same 128 bits read as whole numbers, so that their text never has an exponent."""
    return pa.Array.from_buffers(_WHOLE_NUMBER, len(values), values.buffers(), values.null_count, values.offset)
