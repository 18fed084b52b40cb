"""How fast the dedupe index hashes, looks up and takes in usage events, as it grows; and what it needs for that.

    python bench/bench_index.py [millions of keys] ...

Each usage event has an id of 32 characters, one of 8 sources, 1,000 subjects and two properties. One thread does what
ingest does: hash a batch, look its keys up, fold it; the index merges its runs beside it. Processor time counts all
threads, and is what stays comparable on a machine that others use as well.
"""

import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import process_time, thread_time

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto" / "gen")]

import numpy as np  # noqa: E402 (the path is set above)
import pyarrow as pa  # noqa: E402 (as above)

from services.eventstore.event import Position  # noqa: E402 (as above)
from services.eventstore.usage_batch import TIME, VALUE, usage_schema  # noqa: E402 (as above)
from services.ingest.dedupe_index import DedupeIndex, Fold  # noqa: E402 (as above)
from services.ingest.digests import Digests  # noqa: E402 (as above)
from services.ingest.index_manifest import Checkpoint  # noqa: E402 (as above)
from services.kernel.clock import monotonic_s  # noqa: E402 (as above)

BATCH = 25_000
SMALL_CALLS = 300
ID_BYTES = 16
SEED = 1
MILLION = 1_000_000
NEW_KEY = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class Spent:
    """Seconds of processor time of the working thread's three steps, of the whole process, and of the clock."""

    hash_s: float = 0.0
    lookup_s: float = 0.0
    fold_s: float = 0.0
    process_s: float = 0.0
    clock_s: float = 0.0


def main() -> None:
    """Fill one index after the other, and print what a key costs on average."""
    print("keys        hash  lookup    fold   merge beside     all   (ns of processor time a key)   elapsed ns a key")
    for millions in [int(text) for text in sys.argv[1:]] or [1, 10, 20]:
        child = os.fork()
        if not child:
            fill(millions)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit(1)


def fill(millions: int) -> None:
    """Fill an empty index, in a process of its own, so that its memory is its own."""
    with tempfile.TemporaryDirectory() as folder:
        digests = Digests(b"a log of the benchmark")
        index = DedupeIndex(Path(folder), "this run of the machine", digests)
        all_of_it = Spent()
        version = 0
        for batch in batches(millions):
            record(index, version, batch, all_of_it)
            version += 1
        tell(f"{millions:>3} million", all_of_it, millions * MILLION)
        tell_small_calls(index, batch.slice(0, 1), version)
        tell_repeats(index, next(batches(1)))
        index.close()
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        opened_at = monotonic_s()
        DedupeIndex(Path(folder), "this run of the machine", digests).abandon()
        print(f"     opened again in {monotonic_s() - opened_at:.2f} s")
        print(f"     {size / millions / MILLION:.1f} bytes a key on disk")
        print(f"     peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB, mapped pages included")


def record(index: DedupeIndex, version: int, batch: pa.RecordBatch, spent: Spent) -> None:
    """One batch: hash, look up, fold."""
    clock_start, process_start = monotonic_s(), process_time()
    start = thread_time()
    keys, contents = index.digests.keys(batch), index.digests.contents(batch)
    hashed = thread_time()
    known = index.lookup(keys)
    looked_up = thread_time()
    assert not known.is_known.any(), "every id is new"
    index.fold(0, Fold(Checkpoint(version, Position(version + 1), bytes(16)), keys, contents))
    spent.hash_s += hashed - start
    spent.lookup_s += looked_up - hashed
    spent.fold_s += thread_time() - looked_up
    spent.process_s += process_time() - process_start
    spent.clock_s += monotonic_s() - clock_start


def tell(name: str, spent: Spent, keys: int) -> None:
    """One line of the table."""
    working_s = spent.hash_s + spent.lookup_s + spent.fold_s
    steps = (spent.hash_s, spent.lookup_s, spent.fold_s, spent.process_s - working_s, spent.process_s, spent.clock_s)
    hash_ns, lookup_ns, fold_ns, beside_ns, all_ns, clock_ns = (step / keys * 1e9 for step in steps)
    print(
        f"{name} {hash_ns:>6.0f} {lookup_ns:>7.0f} {fold_ns:>7.0f} {beside_ns:>14.0f} {all_ns:>7.0f} {clock_ns:>50.0f}",
        flush=True,
    )


def tell_small_calls(index: DedupeIndex, batch: pa.RecordBatch, version: int) -> None:
    """What one usage event a call costs: hash, look up, fold."""
    spent = Spent()
    for call in range(SMALL_CALLS):
        keys = index.digests.keys(batch)
        keys["hi"] += np.full(1, call + 1, np.uint64) * NEW_KEY
        contents = index.digests.contents(batch)
        start = thread_time()
        index.lookup(keys)
        looked_up = thread_time()
        index.fold(0, Fold(Checkpoint(version + call, Position(version + call + 1), bytes(16)), keys, contents))
        spent.lookup_s += looked_up - start
        spent.fold_s += thread_time() - looked_up
    print(
        f"     one key a call: look-up {spent.lookup_s / SMALL_CALLS * 1e6:.0f} µs, "
        f"fold {spent.fold_s / SMALL_CALLS * 1e6:.0f} µs"
    )


def tell_repeats(index: DedupeIndex, batch: pa.RecordBatch) -> None:
    """What a batch costs that was recorded long ago."""
    keys = index.digests.keys(batch)
    start = thread_time()
    known = index.lookup(keys)
    assert known.is_known.all(), "every id is known"
    print(f"     a batch that is known already: look-up {(thread_time() - start) / BATCH * 1e9:.0f} ns a key")


def batches(millions: int) -> Iterator[pa.RecordBatch]:
    """Usage events whose ids never repeat; the same ones for the same seed."""
    chance = np.random.default_rng(SEED)
    for _ in range(millions * MILLION // BATCH):
        yield pa.RecordBatch.from_arrays(
            [
                coded(chance, "gateway-", 8),
                coded(chance, "type-", 3),
                coded(chance, "tenant-", 1_000),
                ids(chance),
                pa.array(chance.integers(0, 10**12, BATCH)).cast(TIME),
                pa.array(chance.integers(0, 10**6, BATCH)).cast(VALUE),
                coded(chance, "model-", 20),
                coded(chance, "region-", 5),
            ],
            schema=usage_schema(["model", "region"]),
        )


def coded(chance: np.random.Generator, name: str, count: int) -> pa.DictionaryArray:
    """One of `count` texts a row."""
    codes = chance.integers(0, count, BATCH).astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array([f"{name}{number}" for number in range(count)]))


def ids(chance: np.random.Generator) -> pa.Array:
    """Ids of 32 hexadecimal characters."""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)[chance.integers(0, 16, BATCH * 2 * ID_BYTES, np.uint8)]
    offsets = np.arange(0, BATCH * 2 * ID_BYTES + 1, 2 * ID_BYTES, dtype=np.int32)
    return pa.StringArray.from_buffers(BATCH, pa.py_buffer(offsets), pa.py_buffer(digits))


if __name__ == "__main__":
    main()
