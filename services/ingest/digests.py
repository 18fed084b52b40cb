"""What makes two usage events the same one, and what makes them equal: keyed digests over a batch in its stored form.

Live and rebuilt index alike are folded from such batches, so both see the same digests. The secrets are the log's and
the index's own, so nobody who has not read the index's folder can find two usage events whose digests agree.
"""

from functools import lru_cache
from hashlib import sha256
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.eventstore.usage_batch import property_column, property_keys
from services.ingest.multilinear import Sums, TextField, lanes_of, multipliers, sums_of_columns

KEY = np.dtype([("hi", "<u8"), ("lo", "<u8")])
"""Who a usage event is: 128 bits."""

Keys: TypeAlias = npt.NDArray[np.void]
Contents: TypeAlias = npt.NDArray[np.uint64]

_KEY_LANES, _CONTENT_LANES = 4, 2
_TIME_WORDS, _VALUE_WORDS = 2, 4
_PROPERTY_KEYS_KEPT = 1_024
"""Property keys whose multipliers are kept: drawing them takes longer than a few texts."""


class Digests:
    """The digests of one index. Pure, safe in any number of threads; no loop over usage events in Python."""

    def __init__(self, log: bytes, own: bytes = b"") -> None:
        """The secret of the log, and one of the index's own, decide all digests together."""
        secret = log + own
        self.log_fingerprint = _fingerprint(log)
        """Tells the digests of one log from those of another, and nothing about the secret."""
        self.fingerprint = f"{self.log_fingerprint}-{_fingerprint(secret)}"
        """The same of both secrets."""
        self._secret = secret
        self._source = TextField(secret, "source", _KEY_LANES)
        self._id = TextField(secret, "id", _KEY_LANES)
        self._key_start = multipliers(secret, "key", 1, _KEY_LANES)
        self._type = TextField(secret, "type", _CONTENT_LANES)
        self._subject = TextField(secret, "subject", _CONTENT_LANES)
        self._time = multipliers(secret, "time", _TIME_WORDS, _CONTENT_LANES)
        self._value = multipliers(secret, "value", _VALUE_WORDS, _CONTENT_LANES)
        self._content_start = multipliers(secret, "content", 1, _CONTENT_LANES)
        self._property = TextField(secret, "property", _CONTENT_LANES)
        self._of_property = lru_cache(_PROPERTY_KEYS_KEPT)(self._drawn_for_property)

    def keys(self, batch: pa.RecordBatch) -> Keys:
        """The identity of each usage event, rows of KEY: 128 bits of source and id."""
        source = batch.column("source")
        sums, of_sources = sums_of_columns([(self._id, batch.column("id")), (self._source, source.dictionary)])
        sums += _decoded(source, of_sources)
        sums += self._key_start
        lanes = lanes_of(sums)
        keys = np.empty(len(sums), KEY)
        keys["hi"] = spread(_joined(lanes[:, 0], lanes[:, 1]))
        keys["lo"] = spread(_joined(lanes[:, 2], lanes[:, 3]))
        return keys

    def contents(self, batch: pa.RecordBatch) -> Contents:
        """What each usage event says: 64 bits of type, subject, time, value and properties.

        Time counts in microseconds, the value in units of its twelfth fractional digit, so "1" and "1.0" are equal;
        only properties that the usage event has take part, whatever their order.
        """
        sums = _fixed_words(batch.column("time"), _TIME_WORDS) @ self._time
        sums += _fixed_words(batch.column("value"), _VALUE_WORDS) @ self._value
        keys = property_keys(batch)
        columns = [batch.column(name) for name in ("type", "subject", *map(property_column, keys))]
        fields = [self._type, self._subject, *[self._property] * len(keys)]
        of_type, of_subject, *of_properties = sums_of_columns(
            [(field, column.dictionary) for field, column in zip(fields, columns, strict=True)]
        )
        own = [of_type, of_subject, *map(self._property_sums, keys, of_properties)]
        for column, distinct in zip(columns, own, strict=True):
            sums += _decoded(column, distinct)
        sums += self._content_start
        lanes = lanes_of(sums)
        return spread(_joined(lanes[:, 0], lanes[:, 1]))

    def _property_sums(self, key: str, texts: Sums) -> Sums:
        """That the property is there, and the lanes of its text.

        Each key has multipliers of its own, so the sums of several properties add up without being mixed up.
        """
        own = self._of_property(key)
        sums: Sums = lanes_of(texts) @ own[1:] + own[0]
        return sums

    def _drawn_for_property(self, key: str) -> Sums:
        return multipliers(self._secret, f"property {key}", 1 + _CONTENT_LANES, _CONTENT_LANES)


def _fingerprint(secret: bytes) -> str:
    return sha256(b"fingerprint of " + secret).hexdigest()


def no_keys() -> Keys:
    """The keys of no usage events."""
    return np.empty(0, KEY)


def no_contents() -> Contents:
    """The contents of no usage events."""
    return np.empty(0, np.uint64)


def spread(values: Contents) -> Contents:
    """Each value as another one, one to one, so that even neighbours lie far apart (MurmurHash3's fmix64)."""
    shift = np.uint64(33)
    values = values ^ (values >> shift)
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> shift
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    values ^= values >> shift
    return values


def _joined(upper: Contents, lower: Contents) -> Contents:
    return (upper << np.uint64(32)) | lower


def _decoded(column: pa.DictionaryArray, distinct: Sums) -> Sums:
    """The sums of a dictionary-coded column from those of each distinct text; zero for a null."""
    codes = column.indices
    if codes.null_count or column.dictionary.null_count:
        distinct = np.concatenate([distinct, np.zeros((1, distinct.shape[1]), np.uint64)])
        distinct[:-1][column.dictionary.is_null().to_numpy(zero_copy_only=False)] = 0
        codes = pc.fill_null(codes, len(distinct) - 1)
    sums: Sums = distinct.take(codes.to_numpy(), axis=0)
    return sums


def _fixed_words(column: pa.Array, count: int) -> Sums:
    """The words of a column of fixed width, rows × `count`, each in 64 bits."""
    words = np.frombuffer(column.buffers()[1], "<u4").reshape(-1, count)
    return words[column.offset : column.offset + len(column)].astype(np.uint64)
