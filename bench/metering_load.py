"""The reference load W: usage events in columns, seeded, at millions a second.

10 million usage events in 7 days: 1,000 customers (Zipf, s = 1.1), 3 event types in equal parts, 2 properties of 20 and
5 values, in rough order of time (2 % up to 6 hours late), values with 0 to 6 fractional digits, ids of 32 characters,
8 sources. More events go on behind the 7 days at the same pace.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

START = datetime(2024, 1, 1, tzinfo=UTC)
SEED = 20_240_101
EVENTS_A_WEEK = 10_000_000
CUSTOMERS = 1_000
ZIPF_EXPONENT = 1.1
LATE_SHARE = 0.02
LATE_MAX_US = 6 * 3_600 * 1_000_000
ID_BYTES = 16
FRACTION_DIGITS = 12

TYPES = pa.array(["api.call", "llm.completion", "storage.write"])
SUBJECTS = pa.array([f"customer-{number:04d}" for number in range(CUSTOMERS)])
REGIONS = pa.array([f"region-{number:02d}" for number in range(20)])
MODELS = pa.array([f"model-{number}" for number in range(5)])
SOURCES = pa.array([f"gateway-{number}" for number in range(8)])

_WEIGHTS = 1 / np.arange(1, CUSTOMERS + 1) ** ZIPF_EXPONENT
_CUMULATED = np.cumsum(_WEIGHTS / _WEIGHTS.sum())
_START_US = int(START.timestamp()) * 1_000_000
_STEP_US = 7 * 86_400 * 1_000_000 / EVENTS_A_WEEK


def batches(usage_events: int, rows: int, first: int = 0) -> Iterator[pa.RecordBatch]:
    """Batches of `rows` usage events, each of one source, behind the `first` ones; the same ones on every call."""
    for begin in range(first, first + usage_events, rows):
        yield batch(begin, min(rows, first + usage_events - begin))


def batch(first: int, rows: int) -> pa.RecordBatch:
    """The usage events `first`, `first` + 1 … in the columns of RecordUsageColumns."""
    chance = np.random.default_rng((SEED, first))
    columns = {
        "id": _ids(chance, rows),
        "source": _coded(np.full(rows, first // rows % len(SOURCES)), SOURCES),
        "type": _coded(chance.integers(0, len(TYPES), rows), TYPES),
        "subject": _coded(np.searchsorted(_CUMULATED, chance.random(rows)).clip(0, CUSTOMERS - 1), SUBJECTS),
        "time": _times(chance, first, rows),
        "value": _values(chance, rows),
        "p.model": _coded(chance.integers(0, len(MODELS), rows), MODELS),
        "p.region": _coded(chance.integers(0, len(REGIONS), rows), REGIONS),
    }
    return pa.RecordBatch.from_pydict(columns)


def _ids(chance: np.random.Generator, rows: int) -> pa.Array:
    offsets = np.arange(rows + 1, dtype=np.int32) * (2 * ID_BYTES)
    texts = chance.bytes(ID_BYTES * rows).hex().encode()
    return pa.Array.from_buffers(pa.utf8(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(texts)])


def _times(chance: np.random.Generator, first: int, rows: int) -> pa.Array:
    at_us = _START_US + ((first + np.arange(rows)) * _STEP_US).astype(np.int64)
    is_late = chance.random(rows) < LATE_SHARE
    return pa.array(at_us - is_late * chance.integers(0, LATE_MAX_US, rows)).cast(pa.timestamp("us", tz="UTC"))


def _values(chance: np.random.Generator, rows: int) -> pa.Array:
    """Whole numbers up to a million, divided by 1, 10, … a million, as decimal128."""
    units = np.zeros((rows, 2), "<i8")
    fractions = chance.integers(0, 7, rows)
    units[:, 0] = chance.integers(1, 1_000_000, rows) * 10 ** (FRACTION_DIGITS - fractions)
    return pa.Array.from_buffers(pa.decimal128(38, FRACTION_DIGITS), rows, [None, pa.py_buffer(units)])


def _coded(codes: np.ndarray, texts: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), texts)
