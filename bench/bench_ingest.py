"""How fast the ingest service records usage, durable in the embedded log: batches of rows, columns, single calls.

    python bench/bench_ingest.py [seconds] [load]

The server runs in a process of its own with an empty log in a temporary folder; the client builds every request while
it is timed. Each usage event has two properties, of 20 and of 5 texts, and one of 1,000 subjects.
"""

import asyncio
import os
import random
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import cycle
from pathlib import Path
from typing import TypeAlias

import grpc
import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto" / "gen")]

from meterlog.ingest.v1 import ingest_pb2, ingest_pb2_grpc  # noqa: E402 (the path is set above)
from services.kernel.clock import SystemClock, epoch_us, monotonic_s  # noqa: E402 (as above)

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
CALL_TIMEOUT_S = 30.0
WARM_UP_S = 1.0
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
ID_BYTES = 16

Stub: TypeAlias = "ingest_pb2_grpc.IngestServiceAsyncStub"


@dataclass(frozen=True, slots=True)
class Load:
    """So many callers at once, each sending batches of so many usage events, one after the other."""

    name: str
    callers: int
    batch: int
    send: "Callable[[Stub, str, int, float], Awaitable[int]]"


def main() -> None:
    """Measure every load on a server of its own."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    chosen = " ".join(sys.argv[2:])
    for load in (load for load in LOADS if chosen in load.name):
        with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as address:
            calls = asyncio.run(measured(address, load, seconds))
        events = calls * load.batch
        print(f"{load.name:24} {calls / seconds:>10,.0f} calls/s {events / seconds:>12,.0f} usage events/s")


async def measured(address: str, load: Load, seconds: float) -> int:
    """Calls that were answered within `seconds`, after a warm-up."""
    async with grpc.aio.insecure_channel(
        address, options=(("grpc.max_send_message_length", MESSAGE_BYTES_MAX),)
    ) as channel:
        stub: Stub = ingest_pb2_grpc.IngestServiceStub(channel)
        await asyncio.wait_for(channel.channel_ready(), START_TIMEOUT_S)
        await ready(stub)
        await send_until(stub, load, monotonic_s() + WARM_UP_S)
        return await send_until(stub, load, monotonic_s() + seconds)


async def ready(stub: Stub) -> None:
    """Return when the service records usage."""
    deadline = monotonic_s() + START_TIMEOUT_S
    while True:
        try:
            await stub.RecordUsage(next(requests("warm-up", 1)), timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or monotonic_s() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            return


async def send_until(stub: Stub, load: Load, end: float) -> int:
    """Keep all callers busy; the number of calls answered, each checked to be recorded whole."""
    callers = (load.send(stub, f"bench-{caller}", load.batch, end) for caller in range(load.callers))
    return sum(await asyncio.gather(*callers))


async def send_columns(stub: Stub, source: str, batch: int, end: float) -> int:
    """One caller, in columns."""
    calls = 0
    for request in column_requests(source, batch):
        if monotonic_s() >= end:
            break
        response = await stub.RecordUsageColumns(request, timeout=CALL_TIMEOUT_S)
        if response.recorded_count != batch:
            raise AssertionError("the log is empty and every id is new, so every usage event must be recorded")
        calls += 1
    return calls


async def send_rows(stub: Stub, source: str, batch: int, end: float) -> int:
    """One caller."""
    calls = 0
    for request in requests(source, batch):
        if monotonic_s() >= end:
            break
        response = await stub.RecordUsage(request, timeout=CALL_TIMEOUT_S)
        if {result.outcome for result in response.results} != {ingest_pb2.USAGE_OUTCOME_RECORDED}:
            raise AssertionError("the log is empty and every id is new, so every usage event must be recorded")
        calls += 1
    return calls


def requests(source: str, batch: int) -> Iterator[ingest_pb2.RecordUsageRequest]:
    """Requests without end, every usage event with a new id; what they say is drawn ahead, and again and again."""
    now_s = epoch_us(SystemClock().now()) // 1_000_000
    drawn = cycle(DRAWN)
    while True:
        ids = os.urandom(ID_BYTES * batch).hex()
        request = ingest_pb2.RecordUsageRequest()
        for start in range(0, len(ids), 2 * ID_BYTES):
            age_s, subject, value, properties = next(drawn)
            event = request.events.add(
                id=ids[start : start + 2 * ID_BYTES],
                source=source,
                type="llm.completion",
                subject=subject,
                value=value,
                properties=properties,
            )
            event.time.seconds, event.time.nanos = now_s - age_s, 123_456_000
        yield request


def column_requests(source: str, batch: int) -> Iterator[ingest_pb2.RecordUsageColumnsRequest]:
    """The same in columns: what is said is drawn ahead, every id is new."""
    now_us = epoch_us(SystemClock().now())
    rows = [DRAWN[row % len(DRAWN)] for row in range(batch)]
    schema = {"source": source, "type": "llm.completion"}
    said = {
        "subject": pa.array([row[1] for row in rows]).dictionary_encode(),
        "time": pa.array([now_us - row[0] * 1_000_000 for row in rows], pa.timestamp("us", "UTC")),
        "value": pa.array([Decimal(row[2]) for row in rows], pa.decimal128(38, 12)),
        "p.region": pa.array([row[3]["region"] for row in rows]).dictionary_encode(),
        "p.model": pa.array([row[3]["model"] for row in rows]).dictionary_encode(),
    }
    edges = pa.py_buffer(np.arange(0, 2 * ID_BYTES * (batch + 1), 2 * ID_BYTES, dtype=np.int32))
    while True:
        ids = pa.py_buffer(os.urandom(ID_BYTES * batch).hex().encode())
        columns = {"id": pa.StringArray.from_buffers(batch, edges, ids), **said}
        content = pa.RecordBatch.from_pydict(columns, metadata=schema)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, content.schema) as writer:
            writer.write_batch(content)
        yield ingest_pb2.RecordUsageColumnsRequest(arrow_ipc=sink.getvalue().to_pybytes())


def draw(chance: random.Random) -> tuple[int, str, str, dict[str, str]]:
    """Age in seconds, subject, value and properties of a usage event."""
    properties = {"region": f"region-{chance.randrange(20)}", "model": f"model-{chance.randrange(5)}"}
    return chance.randrange(3_600), f"tenant-{chance.randrange(1_000)}", str(chance.randrange(1, 5_000)), properties


DRAWN = [draw(random.Random(seed)) for seed in range(10_000)]


LOADS = (
    Load("rows, batches of 1,000", 4, 1_000, send_rows),
    Load("columns of 50,000", 4, 50_000, send_columns),
    Load("one a call", 64, 1, send_rows),
)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of an ingest service with an empty log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "proto" / "gen"))),
        "METERLOG_LISTEN": address,
        "METERLOG_VAR": str(folder / "var"),
        "METERLOG_STORE_URL": f"sqlite:///{folder / 'log' / 'events.db'}",
        "METERLOG_LOG_FORMAT": "json",
    }
    with (folder / "server.log").open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "services.ingest"], env=environment, cwd=folder, stderr=output, stdout=output
        )
        try:
            yield address
        finally:
            server.terminate()
            server.wait(STOP_TIMEOUT_S)


if __name__ == "__main__":
    main()
