"""Around every call: the caller is known, waiting is bounded, and an error says what was wrong and what to do."""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from meterlog.common.v1 import clock_pb2, clock_pb2_grpc, projection_pb2, projection_pb2_grpc
from services.eventstore.event import Position
from services.eventstore.memory import MemoryEventStore
from services.kernel.clock import SimulatedClock, SystemClock
from services.kernel.errors import InvalidInput
from services.kernel.timestamp import to_timestamp
from services.projection.projection import Comparison, ProjectionStatus, RebuildMode, RebuildProgress
from services.rpc.channel import open_channel
from services.rpc.clock_face import CLOCK_SERVICE, ClockFace
from services.rpc.common_settings import common_settings
from services.rpc.health import Health
from services.rpc.projection_face import PROJECTION_SERVICE, ProjectionFace
from services.rpc.server import call_interceptor, open_server
from services.rpc.settings import Settings
from services.rpc.simulation import ClockFollower

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
WAIT_S = 60.0
COMPARE_COUNTED = projection_pb2.RebuildProjectionRequest(name="counted", mode=projection_pb2.REBUILD_MODE_COMPARE_ONLY)
KEYS = f"ops:admin:{hashlib.sha256(b'o').hexdigest()},board:read:{hashlib.sha256(b'b').hexdigest()}"


class Counted:
    """A projection whose rebuild takes two steps and finds both equal; "broken" finds an error of its own."""

    name = "counted"

    def __init__(self, crash: bool = False) -> None:
        self._crash = crash

    def status(self) -> ProjectionStatus:
        if self._crash:
            raise ZeroDivisionError("a secret of the inside")
        return ProjectionStatus("counted", 1, Position(7), Position(9), False, "")

    def rebuild(self, *, mode: RebuildMode, progress: Callable[[RebuildProgress], None]) -> Comparison:
        if self._crash:
            raise ZeroDivisionError("a secret of the inside")
        if mode is RebuildMode.COMPARE_ONLY:
            raise InvalidInput("not that", field="mode", reason="NOT_THAT")
        progress(RebuildProgress(Position(4), Position(9), 4))
        progress(RebuildProgress(Position(9), Position(9), 9))
        return Comparison(Position(9), "aa", "aa", True)


class Running:
    """A server on a free port of loopback, its event loop in a thread."""

    def __init__(self, keys: str = "", crash: bool = False, simulated: bool = True) -> None:
        self.clock = SimulatedClock(NOON)
        self.store = MemoryEventStore(self.clock)
        self.follower = ClockFollower(self.store, self.clock)
        self.follower.start()
        self._faces = [
            (CLOCK_SERVICE, ClockFace(self.store, self.clock if simulated else SystemClock()).register),
            (PROJECTION_SERVICE, ProjectionFace([Counted(crash)], self.clock).register),
        ]
        environment = {"METERLOG_LISTEN": "127.0.0.1:0", "METERLOG_API_KEYS": keys}
        self._settings = Settings(common_settings("ingest"), environment)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(daemon=True, target=self._loop.run_forever)
        self._thread.start()
        self.health = Health((CLOCK_SERVICE,))
        self._server, port = self.run(self._open())
        self.address = f"127.0.0.1:{port}"

    async def _open(self) -> tuple[grpc.aio.Server, int]:
        server = await open_server(self._settings, self._faces, self.health, call_interceptor(self._settings))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(WAIT_S)

    def close(self) -> None:
        self.run(self._server.stop(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()
        self.follower.stop(WAIT_S)
        self.store.close()


@pytest.fixture
def started() -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def start(**arguments: Any) -> Running:
        running.append(Running(**arguments))
        return running[-1]

    yield start
    for each in running:
        each.close()


def details_of(error: grpc.RpcError) -> Status:
    metadata = dict(error.trailing_metadata())
    return Status.FromString(metadata["grpc-status-details-bin"])


def test_a_refusal_carries_its_code_reason_and_field(started: Callable[..., Running]) -> None:
    with open_channel(started().address) as channel:
        stub = projection_pb2_grpc.ProjectionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.RebuildProjection(COMPARE_COUNTED))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == "not that"
    info, bad = ErrorInfo(), BadRequest()
    status = details_of(refused.value)
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(bad)
    assert (info.reason, info.domain) == ("NOT_THAT", "meterlog")
    assert bad.field_violations[0].field == "mode"


def test_an_unknown_projection_is_answered_with_those_there_are(started: Callable[..., Running]) -> None:
    with open_channel(started().address) as channel:
        stub = projection_pb2_grpc.ProjectionServiceStub(channel)
        with pytest.raises(grpc.RpcError, match="it has counted") as refused:
            list(stub.RebuildProjection(projection_pb2.RebuildProjectionRequest(name="x")))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_rebuild_streams_its_progress_and_ends_with_the_comparison(started: Callable[..., Running]) -> None:
    with open_channel(started().address) as channel:
        stub = projection_pb2_grpc.ProjectionServiceStub(channel)
        answers = list(stub.RebuildProjection(projection_pb2.RebuildProjectionRequest(name="counted")))
    assert [answer.events for answer in answers] == [4, 9, 9]
    assert answers[-1].comparison.equal
    assert answers[-1].comparison.swapped


def test_an_unforeseen_error_does_not_leak_its_text(started: Callable[..., Running]) -> None:
    with open_channel(started(crash=True).address) as channel:
        stub = projection_pb2_grpc.ProjectionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as crashed:
            stub.ListProjections(projection_pb2.ListProjectionsRequest(), timeout=WAIT_S)
    assert crashed.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in (crashed.value.details() or "")


@pytest.mark.parametrize(
    ("key", "code"), [("", "UNAUTHENTICATED"), ("x", "UNAUTHENTICATED"), ("b", "PERMISSION_DENIED")]
)
def test_a_call_without_the_right_key_is_refused(started: Callable[..., Running], key: str, code: str) -> None:
    with open_channel(started(keys=KEYS).address, key) as channel:
        stub = clock_pb2_grpc.ClockServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.AdvanceClock(clock_pb2.AdvanceClockRequest(now=to_timestamp(NOON)), timeout=WAIT_S)
    assert refused.value.code().name == code


def test_a_server_stream_without_a_key_is_refused(started: Callable[..., Running]) -> None:
    with open_channel(started(keys=KEYS).address) as channel:
        stub = projection_pb2_grpc.ProjectionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.RebuildProjection(projection_pb2.RebuildProjectionRequest(name="counted")))
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_simulated_clock_moves_for_everybody_and_only_forward(started: Callable[..., Running]) -> None:
    running = started(keys=KEYS)
    month_end = NOON + timedelta(days=30)
    with open_channel(running.address, "o") as channel:
        stub = clock_pb2_grpc.ClockServiceStub(channel)
        moved = stub.AdvanceClock(clock_pb2.AdvanceClockRequest(now=to_timestamp(month_end)), timeout=WAIT_S)
        again = stub.AdvanceClock(clock_pb2.AdvanceClockRequest(now=to_timestamp(month_end)), timeout=WAIT_S)
        with pytest.raises(grpc.RpcError, match="only runs forward") as refused:
            stub.AdvanceClock(clock_pb2.AdvanceClockRequest(now=to_timestamp(NOON)), timeout=WAIT_S)
        assert moved == again
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        deadline = threading.Event()
        while stub.GetClock(clock_pb2.GetClockRequest(), timeout=WAIT_S).now != to_timestamp(month_end):
            assert not deadline.wait(0.01)
    assert running.clock.now() == month_end


@pytest.mark.parametrize(
    "request_", [clock_pb2.AdvanceClockRequest(), clock_pb2.AdvanceClockRequest(now={"seconds": 10**15})]
)
def test_an_instant_that_is_none_is_refused(started: Callable[..., Running], request_: Any) -> None:
    with open_channel(started().address) as channel, pytest.raises(grpc.RpcError) as refused:
        clock_pb2_grpc.ClockServiceStub(channel).AdvanceClock(request_, timeout=WAIT_S)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_real_clock_cannot_be_advanced(started: Callable[..., Running]) -> None:
    request = clock_pb2.AdvanceClockRequest(now=to_timestamp(NOON))
    with open_channel(started(simulated=False).address) as channel:
        stub = clock_pb2_grpc.ClockServiceStub(channel)
        with pytest.raises(grpc.RpcError, match="METERLOG_CLOCK=simulated"):
            stub.AdvanceClock(request, timeout=WAIT_S)


def test_health_says_not_ready_until_it_is(started: Callable[..., Running]) -> None:
    running = started(keys=KEYS)
    with open_channel(running.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        states = [
            stub.Check(health_pb2.HealthCheckRequest(service=name)).status for name in ("live", "", CLOCK_SERVICE)
        ]
        running.run(running.health.set_ready(True))
        ready = stub.Check(health_pb2.HealthCheckRequest()).status
        running.run(running.health.drain())
        draining = stub.Check(health_pb2.HealthCheckRequest()).status
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert states == [serving, not_serving, not_serving]
    assert (ready, draining) == (serving, not_serving)


def test_health_can_be_watched(started: Callable[..., Running]) -> None:
    running = started()
    with open_channel(running.address) as channel:
        states = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=WAIT_S)
        first = next(states).status
        running.run(running.health.set_ready(True))
        second = next(states).status
        states.cancel()
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert (first, second) == (not_serving, serving)


@pytest.mark.parametrize("key", ["", "x"])
def test_no_stream_of_either_side_is_open_without_a_key(started: Callable[..., Running], key: str) -> None:
    with open_channel(started(keys=KEYS).address, key) as channel:
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = stub.ServerReflectionInfo(iter([listing]), metadata=(("x-api-key", key),))
        with pytest.raises(grpc.RpcError) as unlisted:
            list(asked)
        with pytest.raises(grpc.RpcError) as unwatched:
            list(health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=WAIT_S))
    assert unlisted.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert unwatched.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_with_a_key_the_services_are_listed(started: Callable[..., Running]) -> None:
    with open_channel(started(keys=KEYS).address) as channel:
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        (answer,) = stub.ServerReflectionInfo(iter([listing]), metadata=(("x-api-key", "b"),), timeout=WAIT_S)
    assert CLOCK_SERVICE in {service.name for service in answer.list_services_response.service}


def test_a_rebuild_that_crashes_is_answered_at_once(started: Callable[..., Running]) -> None:
    with open_channel(started(crash=True).address) as channel:
        stub = projection_pb2_grpc.ProjectionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as crashed:
            list(stub.RebuildProjection(projection_pb2.RebuildProjectionRequest(name="counted"), timeout=WAIT_S))
    assert crashed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "secret" not in (crashed.value.details() or "")


def test_an_error_about_a_long_text_still_fits_into_the_trailers(started: Callable[..., Running]) -> None:
    with open_channel(started().address) as channel:
        stub = projection_pb2_grpc.ProjectionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.RebuildProjection(projection_pb2.RebuildProjectionRequest(name="é" * 100_000), timeout=WAIT_S))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_without_keys_only_loopback_is_listened_on() -> None:
    settings = Settings(common_settings("ingest"), {"METERLOG_LISTEN": "0.0.0.0:0"})
    with pytest.raises(InvalidInput, match="everybody could write"):
        call_interceptor(settings)
