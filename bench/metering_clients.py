"""What benchmarks send and ask: usage through each door, and queries, each answer checked."""

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cache
from itertools import cycle
from time import perf_counter
from typing import Any

import grpc
import metering_load as load
import pyarrow as pa
from google.protobuf.timestamp_pb2 import Timestamp
from metering_services import Serving, channel_options

from meterlog.aggregator.v1 import aggregator_pb2, aggregator_pb2_grpc
from meterlog.ingest.v1 import ingest_pb2, ingest_pb2_grpc

CALL_TIMEOUT_S = 120.0
COLUMNS_ROWS = 50_000
COLUMNS_IN_FLIGHT = 3
ROWS_BATCH = 1_000
ROWS_CALLERS = 4
SINGLE_CALLERS = 64

METERS = (
    aggregator_pb2.Meter(slug="requests", event_type=load.COUNTED, aggregation=aggregator_pb2.AGGREGATION_COUNT),
    aggregator_pb2.Meter(
        slug="tokens",
        event_type=load.BY_REGION,
        aggregation=aggregator_pb2.AGGREGATION_SUM,
        group_by=["region"],
    ),
    aggregator_pb2.Meter(
        slug="stored",
        event_type=load.BY_MODEL,
        aggregation=aggregator_pb2.AGGREGATION_SUM,
        group_by=["model"],
    ),
)
PERCENTILE = aggregator_pb2.Meter(
    slug="tokens_p95",
    event_type=load.BY_REGION,
    aggregation=aggregator_pb2.AGGREGATION_PERCENTILE,
    percentile="95",
)


def create_meters(aggregator: Serving, meters: tuple[aggregator_pb2.Meter, ...]) -> None:
    """Create the meters, and wait until each has counted what was recorded before."""
    with aggregator.channel() as channel:
        stub = aggregator_pb2_grpc.AggregatorServiceStub(channel)
        for meter in meters:
            stub.CreateMeter(aggregator_pb2.CreateMeterRequest(meter=meter), timeout=3_600.0)


def send_columns(ingest: Serving, usage_events: int, week: int = 0) -> list[float]:
    """Record the load in columns, made while it is timed; seconds from the start to the answer of each call."""
    started_s, answered_s = perf_counter(), []
    with ingest.channel() as channel, ThreadPoolExecutor(COLUMNS_IN_FLIGHT) as senders:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)

        def send(batch: pa.RecordBatch) -> None:
            answer = stub.RecordUsageColumns(
                ingest_pb2.RecordUsageColumnsRequest(arrow_ipc=_ipc(batch)), timeout=CALL_TIMEOUT_S
            )
            if answer.recorded_count != batch.num_rows:
                raise AssertionError(f"every id is new, so all must be recorded: {answer.exceptions[:1]}")
            answered_s.append(perf_counter() - started_s)

        list(senders.map(send, load.batches(usage_events, COLUMNS_ROWS, week)))
    return sorted(answered_s)


def send_rows(ingest: Serving, seconds: float) -> float:
    """Record rows in batches for so long; usage events a second."""
    return asyncio.run(_sent_rows(ingest.address, ROWS_CALLERS, ROWS_BATCH, seconds))


def send_single(ingest: Serving, seconds: float) -> float:
    """Record one usage event a call for so long, from many callers; calls a second."""
    return asyncio.run(_sent_rows(ingest.address, SINGLE_CALLERS, 1, seconds))


def _ipc(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


async def _sent_rows(address: str, callers: int, batch: int, seconds: float) -> float:
    async with grpc.aio.insecure_channel(address, options=channel_options()) as channel:
        stub: Any = ingest_pb2_grpc.IngestServiceStub(channel)
        names = [f"bench-{os.getpid()}-{batch}-{caller}" for caller in range(callers)]
        await asyncio.gather(*(_keep_sending(stub, name, batch, perf_counter() + 1.0) for name in names))
        started_s = perf_counter()
        end_s = started_s + seconds
        counts = await asyncio.gather(*(_keep_sending(stub, name, batch, end_s) for name in names))
        return sum(counts) / (perf_counter() - started_s)


async def _keep_sending(stub: Any, source: str, batch: int, end_s: float) -> int:
    sent = 0
    for request in requests(source, batch):
        if perf_counter() >= end_s:
            break
        answer = await stub.RecordUsage(request, timeout=CALL_TIMEOUT_S)
        if {result.outcome for result in answer.results} != {ingest_pb2.USAGE_OUTCOME_RECORDED}:
            raise AssertionError("every id is new, so every usage event must be recorded")
        sent += batch
    return sent


def requests(source: str, batch: int) -> Iterator[ingest_pb2.RecordUsageRequest]:
    """Requests without end, every usage event with a new id; what they say is taken from the load, again and again."""
    drawn = cycle(_drawn())
    while True:
        ids = os.urandom(load.ID_BYTES * batch).hex()
        request = ingest_pb2.RecordUsageRequest()
        for start in range(0, len(ids), 2 * load.ID_BYTES):
            name, subject, seconds, nanos, value, properties = next(drawn)
            event = request.events.add(
                id=ids[start : start + 2 * load.ID_BYTES],
                source=source,
                type=name,
                subject=subject,
                value=value,
                properties=properties,
            )
            event.time.seconds, event.time.nanos = seconds, nanos
        yield request


@cache
def _drawn() -> list[tuple[str, str, int, int, str, dict[str, str]]]:
    """Type, subject, seconds and nanoseconds, value and properties of usage events of the load."""
    found = []
    for row in next(load.batches(10_000, 10_000)).to_pylist():
        at = row["time"]
        value = format(row["value"].normalize(), "f")
        properties = {"model": row["p.model"], "region": row["p.region"]}
        found.append((row["type"], row["subject"], int(at.timestamp()), at.microsecond * 1_000, value, properties))
    return found


def record_batch(stub: Any, batch: pa.RecordBatch) -> int:
    """Record a batch in columns; the log position of its last part."""
    request = ingest_pb2.RecordUsageColumnsRequest(arrow_ipc=_ipc(batch))
    answer = stub.RecordUsageColumns(request, timeout=CALL_TIMEOUT_S)
    return int(max(receipt.position for receipt in answer.receipts))


def totals_at(stub: Any, position: int) -> None:
    """Return when the aggregator answers with all usage up to `position`."""
    start, end = _month()
    request = aggregator_pb2.QueryTotalsRequest(
        subject=load.SUBJECTS[500], meters=["requests"], start_at=start, end_at=end, min_position=position
    )
    stub.QueryTotals(request, timeout=CALL_TIMEOUT_S)


def query(stub: Any, meter: str, subject: str, group_by: tuple[str, ...], as_of: int = 0) -> float:
    """One customer's month; seconds. By day, unless it is counted from usage events."""
    start, end = _month()
    is_counted = as_of or meter == PERCENTILE.slug
    request = aggregator_pb2.QueryUsageRequest(
        meter=meter,
        subjects=[subject],
        start_at=start,
        end_at=end,
        window=aggregator_pb2.WINDOW_NONE if is_counted else aggregator_pb2.WINDOW_DAY,
        group_by=group_by,
        as_of=as_of,
    )
    started_s = perf_counter()
    answer = stub.QueryUsage(request, timeout=CALL_TIMEOUT_S)
    took_s = perf_counter() - started_s
    if not answer.rows:
        raise AssertionError("every customer has usage")
    return took_s


def _month() -> tuple[Timestamp, Timestamp]:
    start, end = Timestamp(), Timestamp()
    start.FromDatetime(load.START)
    end.FromDatetime(load.START + timedelta(days=31))
    return start, end
