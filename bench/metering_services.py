"""Services as processes of their own, on embedded stores in one folder, for benchmarks to talk to."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 120.0
POLL_S = 0.02
REST_TIMEOUT_S = 600.0
REST_LOOK_S = 2.0
RESTING_SHARE = 0.2
MESSAGE_BYTES_MAX = 64 * 1024 * 1024

# Fields of /proc/<pid>/stat behind the name.
_USER, _SYSTEM = 11, 12


@dataclass(frozen=True, slots=True)
class Serving:
    """A service that runs."""

    address: str
    pid: int

    def channel(self) -> grpc.Channel:
        """A connection to it."""
        return grpc.insecure_channel(self.address, options=channel_options())

    def processor_s(self) -> float:
        """Seconds of processor time that it has taken so far."""
        after_name = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[_USER]) + int(after_name[_SYSTEM])) / os.sysconf("SC_CLK_TCK")

    def wait_for_rest(self) -> None:
        """Return when its workers have nothing left to do: it takes next to no processor time for a while."""
        deadline = monotonic() + REST_TIMEOUT_S
        while monotonic() < deadline:
            before_s = self.processor_s()
            sleep(REST_LOOK_S)
            if self.processor_s() - before_s < RESTING_SHARE * REST_LOOK_S:
                return
        raise AssertionError(f"a service is still at work after {REST_TIMEOUT_S:.0f} s; look into its log")

    def peak_bytes(self) -> int:
        """The most memory that it had resident so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024


def channel_options() -> list[tuple[str, int]]:
    """Large messages are allowed."""
    return [("grpc.max_send_message_length", MESSAGE_BYTES_MAX), ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]


def store_url(folder: Path) -> str:
    """The log that the services in `folder` share."""
    return f"sqlite:///{folder / 'log' / 'events.db'}"


@contextmanager
def serving(service: str, folder: Path, **settings: str) -> Iterator[Serving]:
    """The service, ready; stopped at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "proto" / "gen"))),
        "METERLOG_LISTEN": address,
        "METERLOG_VAR": str(folder / "var"),
        "METERLOG_STORE_URL": store_url(folder),
        "METERLOG_LOG_FORMAT": "json",
        **settings,
    }
    with (folder / f"{service}.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", f"services.{service}"], env=environment, cwd=folder, stderr=output, stdout=output
        )
        try:
            _wait_until_ready(address, process)
            yield Serving(address, process.pid)
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)


def _wait_until_ready(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = monotonic() + START_TIMEOUT_S
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while monotonic() < deadline and process.poll() is None:
            try:
                answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1.0, wait_for_ready=True)
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            except grpc.RpcError:
                pass
            sleep(POLL_S)
    raise AssertionError(f"a service did not become ready (exit code {process.poll()}); look into its log")
