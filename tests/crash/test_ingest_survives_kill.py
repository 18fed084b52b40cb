"""An ingest process killed at any moment loses nothing that it acknowledged, and nothing is ever recorded twice."""

import os
import random
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc

from meterlog.events.v1.usage_pb2 import UsageRecorded
from meterlog.ingest.v1.ingest_pb2 import RecordUsageRequest
from meterlog.ingest.v1.ingest_pb2_grpc import IngestServiceStub
from services.eventstore.catalogue import decode
from services.eventstore.event import StreamName
from services.eventstore.open import open_store
from services.eventstore.usage_batch import decode_usage
from services.kernel.clock import SimulatedClock, monotonic_s
from tests.ingest_room import usage, words

ROUNDS = 6
BATCH = 40
BATCHES_MAX = 2_000
CALL_TIMEOUT_S = 120.0
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 120.0
POLL_S = 0.02
SEED = 20240131

Ids = tuple[str, ...]


class Producer(threading.Thread):
    """Sends one batch after the other, each again until it is acknowledged, until it is told to stop."""

    def __init__(self, name: str, addresses: Sequence[str], stop: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._addresses = addresses
        self._stop_sending = stop
        self._chance = random.Random(name)
        self.sent: list[Ids] = []
        self.acknowledged: dict[Ids, list[str]] = {}
        self.lost_calls = 0
        self.complaints: list[str] = []

    def run(self) -> None:
        while not self._stop_sending.is_set() and len(self.sent) < BATCHES_MAX:
            ids = tuple(f"{self.name}-{len(self.sent)}-{row}" for row in range(BATCH))
            self.sent.append(ids)
            while ids not in self.acknowledged and not self._stop_sending.is_set():
                self.send(ids, self._chance.choice(self._addresses))

    def send(self, ids: Ids, address: str) -> None:
        """One attempt; a process that is gone, or not ready, is no complaint."""
        with grpc.insecure_channel(address) as channel:
            request = RecordUsageRequest(events=[usage(name, str(len(name)), batch=ids[0]) for name in ids])
            try:
                response = IngestServiceStub(channel).RecordUsage(request, timeout=CALL_TIMEOUT_S)
            except grpc.RpcError as error:
                self.lost_calls += 1
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    self.complaints.append(f"{error}")
                self._stop_sending.wait(POLL_S)
                return
        outcomes = words(response.results)
        if not set(outcomes) <= {"recorded", "duplicate"}:
            self.complaints.append(f"{ids[0]}: {Counter(outcomes)}")
        self.acknowledged.setdefault(ids, outcomes)


class Process:
    """One ingest process, started again under the same address and with the same folder."""

    def __init__(self, folder: Path, name: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self._log = folder / f"{name}.log"
        self._environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "METERLOG_LISTEN": self.address,
            "METERLOG_VAR": str(folder / name),
            "METERLOG_STORE_URL": f"sqlite:///{folder / 'events.db'}",
            "METERLOG_USAGE_PARTITIONS": "1",
            "METERLOG_CLOCK": "system",
        }
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as output:
            self._running = subprocess.Popen(
                [sys.executable, "-m", "services.ingest"], env=self._environment, stdout=output, stderr=output
            )

    def kill(self) -> None:
        if self._running is not None:
            self._running.kill()
            self._running.wait(STOP_TIMEOUT_S)
            self._running = None


@contextmanager
def two_replicas(folder: Path) -> Iterator[list[Process]]:
    processes = [Process(folder, name) for name in ("a", "b")]
    try:
        for process in processes:
            process.start()
        yield processes
    finally:
        for process in processes:
            process.kill()


def test_replicas_killed_under_load_lose_nothing_and_record_nothing_twice(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    stop = threading.Event()
    with two_replicas(tmp_path) as replicas:
        producers = [Producer(f"producer-{number}", [each.address for each in replicas], stop) for number in range(4)]
        try:
            for producer in producers:
                producer.start()
            for _ in range(ROUNDS):
                wait_for_progress(producers, chance.randint(20, 60))
                victim = chance.choice(replicas)
                victim.kill()
                victim.start()
            wait_for_progress(producers, 20)
        finally:
            stop.set()
        for producer in producers:
            producer.join(START_TIMEOUT_S)
        acknowledged = [name for producer in producers for ids in producer.acknowledged for name in ids]
        assert set(acknowledged) <= set(recorded_ids(tmp_path)), "nothing that was acknowledged is lost"
        send_everything_again(producers, replicas[0].address)

    assert [complaint for producer in producers for complaint in producer.complaints] == []
    assert sum(producer.lost_calls for producer in producers) >= ROUNDS, "it was killed in the midst of it"
    sent = [name for producer in producers for ids in producer.sent for name in ids]
    assert sorted(recorded_ids(tmp_path)) == sorted(sent), "each once"


def wait_for_progress(producers: Sequence[Producer], batches: int) -> None:
    """Until so many more batches are acknowledged."""
    target = total(producers) + batches
    deadline = monotonic_s() + START_TIMEOUT_S
    while total(producers) < target:
        assert monotonic_s() < deadline, "no progress"
        producers[0].join(POLL_S)


def total(producers: Sequence[Producer]) -> int:
    return sum(len(producer.acknowledged) for producer in producers)


def send_everything_again(producers: Sequence[Producer], address: str) -> None:
    """What was acknowledged comes back as duplicate; what was not gets its answer at last."""
    deadline = monotonic_s() + START_TIMEOUT_S
    for producer in producers:
        known = dict.fromkeys(producer.acknowledged)
        producer.acknowledged.clear()
        for ids in producer.sent:
            while ids not in producer.acknowledged:
                assert monotonic_s() < deadline, "no answer"
                producer.send(ids, address)
            assert ids not in known or set(producer.acknowledged[ids]) == {"duplicate"}


def recorded_ids(folder: Path) -> list[str]:
    store = open_store(f"sqlite:///{folder / 'events.db'}", SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC)))
    try:
        messages = [decode(event) for event in store.read_stream(StreamName("usage", "0"))]
    finally:
        store.close()
    batches = [decode_usage(message) for message in messages if isinstance(message, UsageRecorded)]
    return [name for batch in batches for name in batch.column("id").to_pylist()]
