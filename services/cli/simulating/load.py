"""A seeded load of usage events as Arrow record batches: the same seed and load are the same usage on every run.

It is made in blocks of BLOCK_ROWS rows, each from a generator of its own, so a row does not depend on how large the
batches are that it is asked for in. Floats choose among customers and instants; no quantity is ever one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa

from services.cli.simulating.shares import Shares, spoiled

BLOCK_ROWS: Final = 65_536
BATCH_ROWS: Final = 10_000
TYPES: Final = ("api.call", "llm.tokens", "storage.write")
MODELS: Final = tuple(f"model-{number:02}" for number in range(20))
REGIONS: Final = ("ap", "eu", "me", "sa", "us")

TEXT: Final = pa.dictionary(pa.int32(), pa.utf8())
SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.utf8()),
        pa.field("source", TEXT),
        pa.field("type", TEXT),
        pa.field("subject", TEXT),
        pa.field("time", pa.timestamp("us", tz="UTC")),
        pa.field("value", pa.decimal128(38, 12)),
        pa.field("p.model", TEXT),
        pa.field("p.region", TEXT),
    ]
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ID_BYTES: Final = 16
_MANTISSA_MAX: Final = 1_000_000
_PLACES_MAX: Final = 6
_VALUE_SCALE: Final = 12
_JITTER: Final = timedelta(seconds=2)
_THOUSAND: Final = 1_000
_HEX: Final = np.frombuffer(b"0123456789abcdef", np.uint8)


@dataclass(frozen=True, slots=True)
class Load:
    """What is made; the defaults are the reference load of the benchmarks.

    Customers are as busy as Zipf's law with exponent `zipf` says; types come in equal parts; of a thousand usage events
    `late_per_mille` happened up to `late_by` before those around them. Values have 0 to 6 fractional digits, ids 32
    characters.
    """

    events: int = 10_000_000
    seed: int = 1
    customers: int = 1_000
    zipf: float = 1.1
    sources: int = 8
    start_at: datetime = datetime(2026, 1, 5, tzinfo=UTC)
    length: timedelta = timedelta(days=7)
    late_per_mille: int = 20
    late_by: timedelta = timedelta(hours=6)
    shares: Shares = field(default_factory=Shares)


def load_batches(load: Load, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """The load in its order, in batches of SCHEMA with exactly `rows` rows but for the last."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for block in _blocks(load):
        waiting.append(block)
        count += block.num_rows
        while count >= rows:
            whole = pa.Table.from_batches(waiting)
            yield _one_batch(whole.slice(0, rows))
            waiting, count = whole.slice(rows).to_batches(), count - rows
    if count:
        yield _one_batch(pa.Table.from_batches(waiting))


def customer_key(number: int) -> str:
    """The key of a customer, from the busiest on."""
    return f"customer-{number:04}"


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]


def _blocks(load: Load) -> Iterator[pa.RecordBatch]:
    popularity = _popularity(load)
    for number, first_row in enumerate(range(0, load.events, BLOCK_ROWS)):
        source = np.random.default_rng([load.seed, _microseconds(load.start_at - _EPOCH), number])
        block = _block(load, popularity, source, first_row, min(BLOCK_ROWS, load.events - first_row))
        yield spoiled(block, load.shares, source)


def _block(
    load: Load, popularity: "np.ndarray", source: np.random.Generator, first_row: int, rows: int
) -> pa.RecordBatch:
    customers = np.searchsorted(popularity, source.random(rows), side="right")
    columns = [
        _ids(source, rows),
        _texts(source.integers(0, load.sources, rows), [f"gateway-{number}" for number in range(load.sources)]),
        _texts(source.permutation(np.arange(first_row, first_row + rows) % len(TYPES)), TYPES),
        _texts(customers, [customer_key(number) for number in range(load.customers)]),
        _times(load, source, first_row, rows),
        _values(source, rows),
        _texts(source.integers(0, len(MODELS), rows), MODELS),
        _texts(source.integers(0, len(REGIONS), rows), REGIONS),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _popularity(load: Load) -> "np.ndarray":
    """For each customer, the share of usage events that it and all busier ones have."""
    weights = np.arange(1, load.customers + 1, dtype=np.float64) ** -load.zipf
    reached = np.cumsum(weights)
    reached /= reached[-1]
    return reached


def _texts(indices: "np.ndarray", words: "tuple[str, ...] | list[str]") -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(indices.astype(np.int32)), pa.array(words, pa.utf8()))


def _ids(source: np.random.Generator, rows: int) -> pa.StringArray:
    raw = source.integers(0, 256, (rows, _ID_BYTES), dtype=np.uint8)
    characters = np.empty((rows, 2 * _ID_BYTES), np.uint8)
    characters[:, 0::2] = _HEX[raw >> 4]
    characters[:, 1::2] = _HEX[raw & 15]
    offsets = np.arange(rows + 1, dtype=np.int32) * (2 * _ID_BYTES)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(characters))


def _times(load: Load, source: np.random.Generator, first_row: int, rows: int) -> pa.Array:
    """Roughly in order: each row in its turn, a little shaken, and some of them late."""
    length_us = _microseconds(load.length)
    turns = np.arange(first_row, first_row + rows, dtype=np.int64)
    into_us = turns * (length_us // load.events) + source.integers(0, _microseconds(_JITTER), rows)
    is_late = source.integers(0, _THOUSAND, rows) < load.late_per_mille
    into_us -= np.where(is_late, source.integers(0, _microseconds(load.late_by) + 1, rows), 0)
    times_us = np.clip(into_us, 0, length_us - 1) + _microseconds(load.start_at - _EPOCH)
    return pa.array(times_us).cast(SCHEMA.field("time").type)


def _values(source: np.random.Generator, rows: int) -> pa.Array:
    """Decimals of 0 to 6 fractional digits: whole numbers, scaled by whole numbers."""
    places = source.integers(0, _PLACES_MAX + 1, rows)
    scaled = source.integers(1, _MANTISSA_MAX, rows) * 10 ** (_VALUE_SCALE - places)
    words = np.zeros((rows, 2), np.int64)
    words[:, 0] = scaled
    return pa.Array.from_buffers(SCHEMA.field("value").type, rows, [None, pa.py_buffer(words)])


def _microseconds(length: timedelta) -> int:
    return length // _MICROSECOND
