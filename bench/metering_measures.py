"""Each figure of the metering benchmark: what is measured, one function a kind."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

import metering_ceiling as ceiling
import metering_clients as clients
import metering_load as load
import pyarrow as pa
import pyarrow.parquet as pq
from metering_peer import Peer, UsageEvent
from metering_services import ROOT, Serving, serving, store_url

from meterlog.aggregator.v1 import aggregator_pb2_grpc, storage_pb2, storage_pb2_grpc
from meterlog.ingest.v1 import ingest_pb2_grpc
from services.cli.simulating.load import SCHEMA

GIBIBYTE = 1024**3
PEER_EVENTS = 50_000
PEER_BATCH = 1_000
QUERIES = 300
LARGEST_CUSTOMERS = 10
SLOW_QUERIES = 30
FRESHNESS_RATE = 20_000
FRESHNESS_BATCH = 1_000
FRESHNESS_CALLERS = 12
REPLAY_TIMEOUT_S = 3_600


@dataclass(frozen=True, slots=True)
class Row:
    """A figure: ours, the peer's, and how many times the peer's ours is. No peer: None."""

    name: str
    value: float
    unit: str
    peer: float | None = None
    ratio: float | None = None


def rate(name: str, value: float, peer: float | None = None) -> Row:
    """Usage events a second."""
    return Row(name, round(value), "usage events/s", peer and round(peer), peer and round(value / peer, 2))


def recorded_by_rows(folder: Path, seconds: float, peer: float) -> Iterator[Row]:
    """Batches of 1,000 rows, and one usage event a call, each on an empty log of its own."""
    for name, send, against in (
        ("record_usage_rows", clients.send_rows, peer),
        ("record_usage_single", clients.send_single, None),
    ):
        apart = folder / name
        apart.mkdir()
        with serving("ingest", apart) as ingest:
            yield rate(name, send(ingest, seconds), against)


def recorded_in_columns(folder: Path, events: int, peer: float) -> Iterator[Row]:
    """The load in columns; it stays for all that follows."""
    with serving("ingest", folder) as ingest:
        reached_s = clients.send_columns(ingest, events)
        yield rate("record_usage_columns", events / reached_s[-1], peer)
        yield memory("ingest_memory_peak", ingest.peak_bytes())
    (folder / "reached.json").write_text(json.dumps(reached_s))


def recorded_as_much_again(folder: Path, events: int) -> Iterator[Row]:
    """What a usage event costs over twice the load, against the first tenth of it."""
    reached_s = json.loads((folder / "reached.json").read_text())
    with serving("ingest", folder) as ingest:
        again_s = clients.send_columns(ingest, events, week=1)
    whole = reached_s + [reached_s[-1] + at_s for at_s in again_s]
    yield Row("record_cost_growth", round(growth(whole), 3), "times")


def replayed(folder: Path, events: int, peer: float) -> Iterator[Row]:
    """The log folded by a process of its own, from the first event to the last."""
    found = _replay(folder)
    yield rate("replay_windows", events / found["reached_s"][-1], peer)
    yield memory("replay_memory_peak", found["peak_bytes"])


def replayed_as_much_again(folder: Path) -> Iterator[Row]:
    """What a usage event costs over twice the load, against the first tenth of the load."""
    yield Row("replay_cost_growth", round(growth(_replay(folder)["reached_s"]), 3), "times")


def _replay(folder: Path) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "bench" / "metering_replay.py"), store_url(folder), str(folder)]
    for file in folder.glob("replayed.db*"):
        file.unlink()
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=REPLAY_TIMEOUT_S)
    return dict(json.loads(ran.stdout))


def growth(reached_s: Sequence[float]) -> float:
    """Cost of a usage event over all parts, against its cost over the first twentieth of them."""
    early = max(1, len(reached_s) // 20)
    return (reached_s[-1] / len(reached_s)) / (reached_s[early - 1] / early)


def asked(folder: Path) -> Iterator[Row]:
    """Months of single customers: from states, as of the middle of the log, and an exact percentile."""
    with serving("aggregator", folder) as aggregator, aggregator.channel() as channel:
        stub = aggregator_pb2_grpc.AggregatorServiceStub(channel)
        storage = storage_pb2_grpc.UsageStorageServiceStub(channel)
        archived = storage.CompactUsageArchive(storage_pb2.CompactUsageArchiveRequest(), timeout=REPLAY_TIMEOUT_S)
        subjects = load.SUBJECTS
        # The month is long over, so that the aggregator closes it for every customer by now.
        yield from _months(aggregator, stub, "query_month_while_closing")
        aggregator.wait_for_rest()
        yield from _months(aggregator, stub, "query_month")
        chosen = subjects[:LARGEST_CUSTOMERS] + subjects[LARGEST_CUSTOMERS :: len(subjects) // SLOW_QUERIES]
        middle = archived.archive.position // 2
        for name, meter, as_of in (("query_as_of", "tokens", middle), ("percentile", "tokens_p95", 0)):
            took = [clients.query(stub, meter, subject, (), as_of) for subject in chosen]
            yield milliseconds(f"{name}_p50", median(took))
            yield milliseconds(f"{name}_largest_customer", max(took))
        yield memory("aggregator_memory_peak", aggregator.peak_bytes())


def _months(aggregator: Serving, stub: Any, name: str) -> Iterator[Row]:
    """One customer after the other, by day and model; the processor time is all of the service's."""
    before_s = aggregator.processor_s()
    chosen = [load.SUBJECTS[number * 3 % len(load.SUBJECTS)] for number in range(QUERIES)]
    took = [clients.query(stub, "stored", subject, ("model",)) for subject in chosen]
    yield milliseconds(f"{name}_p50", median(took))
    yield milliseconds(f"{name}_p99", percentile(took, 99))
    yield milliseconds(f"{name}_processor", (aggregator.processor_s() - before_s) / QUERIES)


def freshness(folder: Path, seconds: float) -> Iterator[Row]:
    """From the answer that usage is recorded until the aggregator has counted it, under steady load."""
    took: list[float] = []
    with (
        serving("ingest", folder) as ingest,
        serving("aggregator", folder) as aggregator,
        ingest.channel() as to_ingest,
        aggregator.channel() as to_aggregator,
        ThreadPoolExecutor(FRESHNESS_CALLERS) as callers,
    ):
        recording = ingest_pb2_grpc.IngestServiceStub(to_ingest)
        counting = aggregator_pb2_grpc.AggregatorServiceStub(to_aggregator)

        def record_and_wait(batch: pa.RecordBatch) -> None:
            position = clients.record_batch(recording, batch)
            answered_s = perf_counter()
            clients.totals_at(counting, position)
            took.append(perf_counter() - answered_s)

        started_s, pending = perf_counter(), []
        batches = load.batches(int(seconds * FRESHNESS_RATE), FRESHNESS_BATCH, week=2)
        for number, batch in enumerate(batches):
            sleep(max(0.0, started_s + number * FRESHNESS_BATCH / FRESHNESS_RATE - perf_counter()))
            pending.append(callers.submit(record_and_wait, batch))
        for each in pending:
            each.result()
        kept = seconds / (perf_counter() - started_s)
    yield Row("freshness_p50", round(median(took), 3), "s")
    yield Row("freshness_p99", round(percentile(took, 99), 3), "s")
    yield Row("freshness_rate_kept", round(min(1.0, kept), 3), "of the rate")


def peer_rates(folder: Path) -> tuple[float, float]:
    """What the peer records, and folds, a second."""
    events = [_plain(row) for row in next(load.batches(PEER_EVENTS, PEER_EVENTS)).to_pylist()]
    peer = Peer(folder)
    recorded = peer.record([events[start : start + PEER_BATCH] for start in range(0, len(events), PEER_BATCH)])
    folded = peer.fold()
    peer.close()
    return recorded, folded


def _plain(row: dict[str, Any]) -> UsageEvent:
    plain = {name: row[name] for name in ("id", "source", "type", "subject")}
    properties = {"model": row["p.model"], "region": row["p.region"]}
    at_us = int(row["time"].timestamp() * 1_000_000)
    return {**plain, "at_us": at_us, "value": str(row["value"]), "properties": properties}


def ceilings(folder: Path, events: int) -> Iterator[Row]:
    """What Polars does with the same usage in a Parquet file."""
    file = folder / "load.parquet"
    with pq.ParquetWriter(file, SCHEMA) as writer:
        for batch in load.batches(events, 500_000):
            writer.write_table(pa.Table.from_batches([batch]))
    yield rate("ceiling_replay_polars", ceiling.replay(file, events))
    yield milliseconds("ceiling_query_polars", ceiling.query(file, load.SUBJECTS[0]))


def milliseconds(name: str, seconds: float) -> Row:
    """A duration."""
    return Row(name, round(seconds * 1_000, 2), "ms")


def memory(name: str, size_bytes: int) -> Row:
    """A size."""
    return Row(name, round(size_bytes / GIBIBYTE, 3), "GiB")


def percentile(values: Sequence[float], percent: int) -> float:
    """By nearest rank."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def create_meters(folder: Path) -> None:
    """The three meters of the load, and the percentile."""
    with serving("aggregator", folder) as aggregator:
        clients.create_meters(aggregator, (*clients.METERS, clients.PERCENTILE))
