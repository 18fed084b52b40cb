"""The notifier as a process: killed at any moment it sends again what it must, with the same id, and loses nothing."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from meterlog.notifier.v1 import notifier_pb2 as api
from meterlog.notifier.v1.notifier_pb2_grpc import NotifierServiceStub
from services.eventstore.catalogue import encode
from services.eventstore.event import NO_STREAM, StreamName
from services.eventstore.open import open_store
from services.eventstore.store import EventStore
from services.kernel.clock import SimulatedClock
from services.rpc.channel import open_channel
from tests.webhook_bench import eventually, finalized_invoice
from tests.webhook_receiver import Receiver

CALL_TIMEOUT_S = 120.0
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 120.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = open_store(f"sqlite:///{tmp_path}/log/events.db", SimulatedClock(datetime(2024, 2, 1, tzinfo=UTC)))
    yield opened
    opened.close()


@contextmanager
def notifier(folder: Path, address: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("METERLOG_")}
    environment |= {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "METERLOG_STORE_URL": f"sqlite:///{folder}/log/events.db",
        "METERLOG_VAR": str(folder),
        "METERLOG_LISTEN": address,
        "METERLOG_WEBHOOK_ALLOW_HTTP": "true",
        "METERLOG_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8",
        **variables,
    }
    command = [sys.executable, "-m", "services.notifier"]
    with (folder / "notifier.log").open("ab") as lines:
        process = subprocess.Popen(command, env=environment, stderr=lines, stdout=lines)
        try:
            yield process
        finally:
            process.kill()
            process.wait(STOP_TIMEOUT_S)


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def finalize(store: EventStore, number: int) -> None:
    event = finalized_invoice(number)
    stream = StreamName("invoice", event.id)
    store.append(stream, [encode(event, stream, 0, datetime(2024, 2, 1, tzinfo=UTC))], NO_STREAM)


def delivered(address: str) -> int:
    """How many deliveries the notifier says are delivered; none while it is not there."""
    request = api.ListDeliveriesRequest(state=api.DELIVERY_STATE_DELIVERED, page_size=1_000)
    with open_channel(address) as channel:
        try:
            return len(NotifierServiceStub(channel).ListDeliveries(request, timeout=CALL_TIMEOUT_S).deliveries)
        except grpc.RpcError:
            return 0


def create_endpoint(address: str, url: str) -> str:
    request = api.CreateEndpointRequest(endpoint=api.Endpoint(key="books", url=url))
    with open_channel(address) as channel:
        answer = NotifierServiceStub(channel).CreateEndpoint(request, timeout=START_TIMEOUT_S, wait_for_ready=True)
    return answer.secret


def test_killed_again_and_again_it_delivers_everything_under_the_same_ids(
    tmp_path: Path, store: EventStore, receiver: Receiver
) -> None:
    address = free_address()
    with notifier(tmp_path, address):
        secret = create_endpoint(address, receiver.url())
    for round_ in range(3):
        before = len(receiver.arrivals)
        for number in range(40 * round_, 40 * round_ + 40):
            finalize(store, number)
        with notifier(tmp_path, address) as process:
            eventually(lambda seen=before: len(receiver.arrivals) > seen + 5, START_TIMEOUT_S)
            process.send_signal(signal.SIGKILL)
            process.wait(STOP_TIMEOUT_S)
    with notifier(tmp_path, address) as process:
        eventually(lambda: delivered(address) == 120, START_TIMEOUT_S)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_TIMEOUT_S) == 0
    by_id = {arrival.message_id: arrival.body for arrival in receiver.arrivals}
    assert len(by_id) == 120
    assert all(by_id[arrival.message_id] == arrival.body for arrival in receiver.arrivals)
    assert len(receiver.arrivals) <= 120 + 3 * 8
    assert receiver.arrivals[-1].verified(secret)
    written = (tmp_path / "notifier.log").read_text()
    master_key = (tmp_path / "keys" / "webhook-master.key").read_text().strip()
    assert secret not in written
    assert master_key not in written
    assert receiver.url() not in written


def test_a_bad_setting_ends_the_start_with_what_to_do(tmp_path: Path) -> None:
    bad = {
        "METERLOG_WEBHOOK_ALLOW_CIDRS": "everywhere",
        "METERLOG_WEBHOOK_TIMEOUT_S": "31",
        "METERLOG_WEBHOOK_CONCURRENCY": "0",
        "METERLOG_WEBHOOK_MASTER_KEY": "c2hvcnQ=",
    }
    for name, value in bad.items():
        with notifier(tmp_path, free_address(), **{name: value}) as process:
            assert process.wait(START_TIMEOUT_S) == 2
        assert (tmp_path / "notifier.log").read_text().splitlines()[-1].startswith(f"notifier: {name}")
