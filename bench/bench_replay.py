"""How fast the aggregator replays a log of usage into hour windows, and how fast it then answers queries.

    python bench/bench_replay.py [usage events] [usage events a batch]

The load: 1,000 customers (Zipf), 3 event types, 2 properties of 20 and 5 texts, 10 million usage events in 7 days,
seeded; three meters, two of them grouped. The log is an embedded store in a temporary folder.
"""

import random
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from time import process_time
from zoneinfo import ZoneInfo

import pyarrow as pa

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto" / "gen")]

from services.aggregator.aggregations.aggregation import AggregationName  # noqa: E402 (the path is set above)
from services.aggregator.answer import answer  # noqa: E402 (as above)
from services.aggregator.deadline import Deadline  # noqa: E402 (as above)
from services.aggregator.definition import Definition  # noqa: E402 (as above)
from services.aggregator.meter import METER, CreateMeter, meter_stream  # noqa: E402 (as above)
from services.aggregator.query import require_query  # noqa: E402 (as above)
from services.aggregator.snapshot import snapshot  # noqa: E402 (as above)
from services.aggregator.tables import UsageTables  # noqa: E402 (as above)
from services.aggregator.usage_windows import UsageWindows  # noqa: E402 (as above)
from services.eventstore.catalogue import encode  # noqa: E402 (as above)
from services.eventstore.decider import handle  # noqa: E402 (as above)
from services.eventstore.event import Appended, StreamName  # noqa: E402 (as above)
from services.eventstore.open import open_store  # noqa: E402 (as above)
from services.eventstore.store import EventStore  # noqa: E402 (as above)
from services.eventstore.usage_batch import TIME, VALUE, encode_usage, usage_schema  # noqa: E402 (as above)
from services.kernel.calendar import Span, Window  # noqa: E402 (as above)
from services.kernel.clock import SystemClock, epoch_us, monotonic_s  # noqa: E402 (as above)
from services.projection.database import Database  # noqa: E402 (as above)
from services.projection.runner import ProjectionRunner  # noqa: E402 (as above)

APPENDS_IN_FLIGHT = 64
REPLAY_TIMEOUT_S = 3_600.0
QUERIES = 200
SEED = 20_240_101
START = datetime(2024, 1, 1, tzinfo=UTC)
STEP_US = 7 * 86_400 * 1_000_000 // 10_000_000
MONTH = Span(START, START + timedelta(days=31))

SUBJECTS = [f"customer-{number:04d}" for number in range(1_000)]
WEIGHTS = list(accumulate(1 / (rank + 1) for rank in range(len(SUBJECTS))))
TYPES = ("api.call", "llm.completion", "storage.write")
REGIONS = [f"region-{number:02d}" for number in range(20)]
MODELS = [f"model-{number}" for number in range(5)]
METERS = (
    Definition("requests", "requests", "api.call", AggregationName.COUNT, "", (), ""),
    Definition("tokens", "tokens", "llm.completion", AggregationName.SUM, "", ("region",), ""),
    Definition("largest", "largest", "storage.write", AggregationName.MAX, "", ("model",), ""),
)


def main() -> None:
    """Write the log, replay it, ask."""
    arguments = [int(argument) for argument in sys.argv[1:]]
    usage_events, batch = (arguments + [1_000_000, 1_000][len(arguments) :])[:2]
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{folder}/events.db", SystemClock())
        started = monotonic_s()
        write_log(store, usage_events, batch)
        print(f"log written: {usage_events:,} usage events in {monotonic_s() - started:.1f} s, generation included")
        started, worked = monotonic_s(), process_time()
        with replayed(store, Path(folder)) as windows:
            took, cpu = monotonic_s() - started, process_time() - worked
            print(
                f"replay: {usage_events / took:,.0f} usage events/s ({took:.2f} s, of which {cpu:.2f} s of processors)"
            )
            print(f"states: {rows_of(windows):,}")
            for meter in METERS:
                print(f"query {meter.slug}, one month, one customer: {' '.join(latencies(windows, store, meter))}")
        store.close()


def write_log(store: EventStore, usage_events: int, batch: int) -> None:
    """Create the meters, then record usage in batches."""
    for meter in METERS:
        handle(store, METER, meter_stream(meter.slug), CreateMeter(meter, START), START)
    chosen = random.Random(SEED)
    stream, pending = StreamName("usage", "0"), deque[Future[Appended]]()
    for version, first in enumerate(range(0, usage_events, batch)):
        message = encode_usage(usage_batch(chosen, first, min(batch, usage_events - first)))
        pending.append(store.submit(stream, [encode(message, stream, version, START)], version - 1))
        if len(pending) > APPENDS_IN_FLIGHT:
            pending.popleft().result()
    for appended in pending:
        appended.result()


def usage_batch(chosen: random.Random, first: int, size: int) -> pa.RecordBatch:
    """So many usage events, evenly spread in time, behind the `first` ones."""

    def coded(texts: Sequence[str]) -> pa.DictionaryArray:
        return pa.array(texts, pa.utf8()).dictionary_encode()

    numbers = range(first, first + size)
    columns = [
        coded(["meter-reader-1"] * size),
        coded(chosen.choices(TYPES, k=size)),
        coded(chosen.choices(SUBJECTS, cum_weights=WEIGHTS, k=size)),
        pa.array([f"{number:032x}" for number in numbers], pa.utf8()),
        pa.array([epoch_us(START) + number * STEP_US for number in numbers], pa.int64()).cast(TIME),
        pa.array(chosen.choices(range(1, 5_000), k=size), pa.int64()).cast(pa.decimal128(26, 0)).cast(VALUE),
        coded(chosen.choices(MODELS, k=size)),
        coded(chosen.choices(REGIONS, k=size)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=usage_schema(["model", "region"]))


@contextmanager
def replayed(store: EventStore, folder: Path) -> Iterator[ProjectionRunner[UsageTables]]:
    """The projection, folded from the first event to the last."""
    database = Database.open(f"sqlite:///{folder / 'tables.db'}")
    windows = ProjectionRunner(store, database, UsageWindows(store))
    windows.start()
    windows.wait_for(store.head().position, REPLAY_TIMEOUT_S)
    yield windows
    windows.stop(REPLAY_TIMEOUT_S)
    database.close()


def rows_of(windows: ProjectionRunner[UsageTables]) -> int:
    """Number of hour states."""
    with windows.read() as (connection, tables):
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {tables.amounts.name}").scalar_one())


def latencies(windows: ProjectionRunner[UsageTables], store: EventStore, meter: Definition) -> list[str]:
    """Median and 99th percentile of queries for customers of all sizes, in milliseconds."""
    took = []
    for number in range(QUERIES):
        query = require_query(meter, [SUBJECTS[number * 5]], MONTH, Window.DAY, ZoneInfo("UTC"), meter.group_by)
        started = monotonic_s()
        with snapshot(windows, store) as usage:
            answer(usage, query, Deadline.after(REPLAY_TIMEOUT_S))
        took.append((monotonic_s() - started) * 1_000)
    took.sort()
    return [f"p50 {took[QUERIES // 2]:.1f} ms", f"p99 {took[QUERIES * 99 // 100]:.1f} ms"]


if __name__ == "__main__":
    main()
