"""How fast the ingest service records usage, durable in the embedded log: whole batches, and one usage event a call.

    python bench/bench_ingest.py [seconds]

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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TypeAlias

import grpc

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


LOADS = (Load("batches of 1,000", 4, 1_000), Load("one a call", 64, 1))


def main() -> None:
    """Measure every load on a server of its own."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    for load in LOADS:
        with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as address:
            calls = asyncio.run(measured(address, load, seconds))
        events = calls * load.batch
        print(f"{load.name:20} {calls / seconds:>10,.0f} calls/s {events / seconds:>12,.0f} usage events/s")


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
    return sum(
        await asyncio.gather(*(send(stub, f"bench-{caller}", load.batch, end) for caller in range(load.callers)))
    )


async def send(stub: Stub, source: str, batch: int, end: float) -> int:
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


def draw(chance: random.Random) -> tuple[int, str, str, dict[str, str]]:
    """Age in seconds, subject, value and properties of a usage event."""
    properties = {"region": f"region-{chance.randrange(20)}", "model": f"model-{chance.randrange(5)}"}
    return chance.randrange(3_600), f"tenant-{chance.randrange(1_000)}", str(chance.randrange(1, 5_000)), properties


DRAWN = [draw(random.Random(seed)) for seed in range(10_000)]


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
