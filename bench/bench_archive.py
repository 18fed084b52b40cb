"""How fast usage is archived, what it takes on disk, and how fast it is read again, beside reading it from the log.

    python bench/bench_archive.py [usage events] [usage events a batch]

The load: 1,000 customers (Zipf, s = 1.1), 3 event types, 2 properties of 20 and 5 texts, 7 days in rough time order
(2 % up to 6 hours late), 8 sources, ids of 32 characters; seeded. The log is an embedded store in a temporary folder.
"""

import resource
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import process_time

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto" / "gen")]

from services.aggregator.archive.compaction import AT_ONCE  # noqa: E402 (the path is set above)
from services.aggregator.archive.folder import ArchiveFolder  # noqa: E402 (as above)
from services.aggregator.archive.growth import Growth  # noqa: E402 (as above)
from services.aggregator.archive.housekeeping import Housekeeping  # noqa: E402 (as above)
from services.aggregator.archive.usage_archive import UsageArchive  # noqa: E402 (as above)
from services.aggregator.snapshot import snapshot  # noqa: E402 (as above)
from services.aggregator.tables import UsageTables  # noqa: E402 (as above)
from services.aggregator.usage.archived_usage import EARLIEST_US, LATEST_US  # noqa: E402 (as above)
from services.aggregator.usage.usage_reading import Extent, read_usage  # noqa: E402 (as above)
from services.aggregator.usage_windows import UsageWindows  # noqa: E402 (as above)
from services.eventstore.catalogue import encode  # noqa: E402 (as above)
from services.eventstore.event import Appended, StreamName  # noqa: E402 (as above)
from services.eventstore.open import open_store  # noqa: E402 (as above)
from services.eventstore.store import EventStore  # noqa: E402 (as above)
from services.eventstore.usage_batch import TIME, VALUE, encode_usage, usage_schema  # noqa: E402 (as above)
from services.kernel.clock import SystemClock, epoch_us, monotonic_s  # noqa: E402 (as above)
from services.projection.database import Database  # noqa: E402 (as above)
from services.projection.runner import ProjectionRunner  # noqa: E402 (as above)

APPENDS_IN_FLIGHT = 64
TIMEOUT_S = 3_600.0
TRIALS = 5
SEED = 20_240_101
START = datetime(2024, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000
WEEK_US = 7 * DAY_US
LATE_US = 6 * 3_600_000_000

SUBJECTS = [f"customer-{number:04d}" for number in range(1_000)]
TYPES = ["api.call", "llm.completion", "storage.write"]
COLUMNS = ("subject", "type", "value", "p.region")
"""What a grouped meter asks for; times and places come with it."""


def main() -> None:
    """Write a log, fold it, archive it, read it."""
    arguments = [int(argument) for argument in sys.argv[1:]]
    usage_events, batch = (arguments + [10_000_000, 1_000][len(arguments) :])[:2]
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{folder}/events.db", SystemClock())
        write_log(store, usage_events, batch)
        log_bytes = sum(path.stat().st_size for path in Path(folder).glob("events.db*"))
        print(f"log written: {usage_events:,} usage events, {log_bytes / usage_events:.1f} bytes each")
        with folded(store, Path(folder)) as (database, windows):
            place = ArchiveFolder.open((Path(folder) / "archive").as_uri(), "url")
            archive = UsageArchive(database, windows, place)
            write_archive(archive, store, windows)
            read_archive(archive, store, windows)
        print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")
        store.close()


def write_archive(archive: UsageArchive, store: EventStore, windows: ProjectionRunner[UsageTables]) -> None:
    """Archive everything, then merge what is small."""
    growth, keeping = Growth(archive, store, windows), Housekeeping(archive, store, windows)
    archive.open()
    started, worked = monotonic_s(), process_time()
    while growth.archive_some():
        pass
    took, cpu = monotonic_s() - started, process_time() - worked
    rows, size = totals(archive)
    print(f"archive_write: {rows / took:,.0f} usage events/s ({took:.1f} s, {cpu:.1f} s of processors)")
    print(f"archive_size: {size / rows:.1f} bytes a usage event, {len(archive.listing.files)} files")
    started, merged = monotonic_s(), 0
    while some := keeping.merge_some(AT_ONCE):
        merged += some
    print(f"archive_merge: {merged} files in {monotonic_s() - started:.1f} s, {len(archive.listing.files)} files left")


def read_archive(archive: UsageArchive, store: EventStore, windows: ProjectionRunner[UsageTables]) -> None:
    """The same questions to the archive and to the log."""
    everything = (EARLIEST_US, LATEST_US)
    a_day = (epoch_us(START) + 3 * DAY_US, epoch_us(START) + 4 * DAY_US)
    questions = {
        "largest customer, one month": Extent(*everything, (SUBJECTS[0],)),
        "median customer, one month": Extent(*everything, (SUBJECTS[500],)),
        "largest customer, one type": Extent(*everything, (SUBJECTS[0],), (TYPES[1],)),
        "all customers, one day": Extent(*a_day),
        "all customers, one hour": Extent(a_day[0], a_day[0] + 3_600_000_000),
    }
    for name, extent in questions.items():
        rows, ours, cpu = measured(lambda extent=extent: read(archive, store, windows, extent), TRIALS)
        rows_of_log, theirs, _ = measured(lambda extent=extent: read(None, store, windows, extent), 1)
        assert rows == rows_of_log, f"{name}: {rows} and {rows_of_log}"
        print(
            f"{name}: {rows:,} usage events, archive {ours:.0f} ms ({cpu:.0f} ms of processors), log {theirs:.0f} ms "
            f"({theirs / ours:.1f} times)"
        )


def read(
    archive: UsageArchive | None, store: EventStore, windows: ProjectionRunner[UsageTables], extent: Extent
) -> int:
    """How many usage events an extent has."""
    with snapshot(windows, store, archive) as usage:
        return sum(part.num_rows for part in read_usage(usage, extent, COLUMNS))


def measured(read_once: Callable[[], int], trials: int) -> tuple[int, float, float]:
    """What is read, and the medians of the milliseconds that it took, by the clock and of all processors."""
    took, worked = [], []
    rows = 0
    for _ in range(trials):
        started, cpu = monotonic_s(), process_time()
        rows = read_once()
        took.append((monotonic_s() - started) * 1_000)
        worked.append((process_time() - cpu) * 1_000)
    return rows, sorted(took)[trials // 2], sorted(worked)[trials // 2]


def totals(archive: UsageArchive) -> tuple[int, int]:
    """Usage events and bytes of an archive."""
    files = archive.listing.files
    return sum(file.rows for file in files), sum(file.size for file in files)


def write_log(store: EventStore, usage_events: int, batch: int) -> None:
    """Record usage in batches."""
    chance = np.random.default_rng(SEED)
    stream, pending = StreamName("usage", "0"), deque[Future[Appended]]()
    for version, first in enumerate(range(0, usage_events, batch)):
        message = encode_usage(usage_batch(chance, first, min(batch, usage_events - first), usage_events))
        pending.append(store.submit(stream, [encode(message, stream, version, START)], version - 1))
        if len(pending) > APPENDS_IN_FLIGHT:
            pending.popleft().result()
    for appended in pending:
        appended.result()


WEIGHTS = 1 / np.arange(1, len(SUBJECTS) + 1) ** 1.1


def usage_batch(chance: np.random.Generator, first: int, size: int, of: int) -> pa.RecordBatch:
    """So many usage events behind the `first` ones of all there will be."""

    def coded(codes: np.ndarray, texts: list[str]) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(texts, pa.utf8()))

    numbers = np.arange(first, first + size)
    late = np.where(chance.random(size) < 0.02, chance.integers(0, LATE_US, size), 0)
    times = epoch_us(START) + numbers * (WEEK_US // of) - late
    values = pa.array(chance.integers(1, 5_000_000_000, size)).cast(pa.decimal128(26, 0)).cast(VALUE)
    columns = [
        coded(chance.integers(0, 8, size), [f"meter-reader-{number}" for number in range(8)]),
        coded(chance.integers(0, 3, size), TYPES),
        coded(chance.choice(len(SUBJECTS), size, p=WEIGHTS / WEIGHTS.sum()), SUBJECTS),
        pa.array([f"{number:032x}" for number in chance.integers(0, 2**62, size).tolist()], pa.utf8()),
        pa.array(times, pa.int64()).cast(TIME),
        values,
        coded(chance.integers(0, 5, size), [f"model-{number}" for number in range(5)]),
        coded(chance.integers(0, 20, size), [f"region-{number:02d}" for number in range(20)]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=usage_schema(["model", "region"]))


@contextmanager
def folded(store: EventStore, folder: Path) -> Iterator[tuple[Database, ProjectionRunner[UsageTables]]]:
    """The tables, folded from the first event to the last."""
    database = Database.open(f"sqlite:///{folder / 'tables.db'}")
    windows = ProjectionRunner(store, database, UsageWindows(store))
    windows.start()
    windows.wait_for(store.head().position, TIMEOUT_S)
    yield database, windows
    windows.stop(TIMEOUT_S)
    database.close()


if __name__ == "__main__":
    main()
