"""What an operator can ask a service about its projections, and what a rebuild does when the caller goes away."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from meterlog.common.v1 import projection_pb2 as api
from meterlog.common.v1.projection_pb2_grpc import ProjectionServiceStub
from services.eventstore.event import Position
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Conflict, Unavailable
from services.kernel.timestamp import to_timestamp
from services.projection.projection import Comparison, ProjectionStatus, RebuildMode, RebuildProgress
from services.rpc import projection_face, rebuild_call
from services.rpc.channel import open_channel
from services.rpc.projection_face import PROJECTION_SERVICE, ProjectionFace
from services.rpc.rebuild_call import NEWS_MAX, RebuildCall
from tests.projection_room import NOON, Bench
from tests.served import WAIT_S, served

DRY_RUN = api.REBUILD_MODE_COMPARE_ONLY


class Index:
    """A projection that is no table: it neither parks events nor holds rebuilds."""

    name = "index"

    def status(self) -> ProjectionStatus:
        return ProjectionStatus("index", 1, Position(1), Position(1), True, "")

    def rebuild(self, *, mode: RebuildMode, progress: Callable[[RebuildProgress], None]) -> Comparison:
        progress(RebuildProgress(Position(1), Position(1), 1))
        return Comparison(Position(1), "aa", "aa", mode.swaps(is_equal=True))


class FoldedElsewhere(Index):
    """A projection of a replica that follows another one."""

    name = "elsewhere"

    def status(self) -> ProjectionStatus:
        return ProjectionStatus("elsewhere", 1, Position(1), Position(1), True, "", leader="meterlog pod-1 7")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "tables.db")
    made.runner.start()
    yield made
    made.close()
    made.store.close()


@pytest.fixture
def stub(bench: Bench) -> Iterator[ProjectionServiceStub]:
    face = ProjectionFace([bench.runner, Index()], SimulatedClock(NOON))
    with served([(PROJECTION_SERVICE, face.register)]) as address, open_channel(address) as channel:
        yield ProjectionServiceStub(channel)


def reason_of(error: grpc.RpcError) -> str:
    status, info = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"]), ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


def projection_of(stub: ProjectionServiceStub) -> api.Projection:
    listed = stub.ListProjections(api.ListProjectionsRequest(), timeout=WAIT_S).projections
    return next(found for found in listed if found.name == "slugs")


def until_held(stub: ProjectionServiceStub) -> api.HeldRebuild:
    waiting = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        found = projection_of(stub)
        if found.held_rebuilds and not found.rebuild_runs:
            return found.held_rebuilds[0]
        waiting.wait(0.01)
    raise AssertionError("nothing is held")


class Gate:
    """Lets a rebuild begin, and go on only when it is opened."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.opened = threading.Event(), threading.Event()
        read_all = bench.store.read_all

        def gated(*, after: Position, categories: frozenset[str] = frozenset(), limit: int) -> object:
            if after == 3:
                self.begun.set()
                assert self.opened.wait(WAIT_S)
            return read_all(after=after, categories=categories, limit=limit)

        monkeypatch.setattr(bench.store, "read_all", gated)


@pytest.fixture
def gate(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Ten events are folded; a rebuild stops at the gate behind the third."""
    bench.runner.wait_for([bench.meter(slug) for slug in "abcdefghij"][-1], WAIT_S)
    return Gate(bench, monkeypatch)


def test_a_caller_that_goes_away_ends_the_rebuild_which_is_held_and_gone_on_with(
    stub: ProjectionServiceStub, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel = RebuildCall.cancel

    def cancel_and_open(call: RebuildCall) -> None:
        cancel(call)
        gate.opened.set()

    monkeypatch.setattr(RebuildCall, "cancel", cancel_and_open)
    call = stub.RebuildProjection(api.RebuildProjectionRequest(name="slugs"), timeout=WAIT_S)
    assert gate.begun.wait(WAIT_S)
    call.cancel()
    with pytest.raises(grpc.RpcError):
        list(call)
    held = until_held(stub)
    assert held.position < 10
    answers = list(stub.RebuildProjection(api.RebuildProjectionRequest(name="slugs", resume=True), timeout=WAIT_S))
    assert answers[-1].comparison.equal
    assert answers[-1].comparison.swapped
    assert answers[-1].events == 10


def test_an_operator_ends_the_rebuild_of_another(stub: ProjectionServiceStub, gate: Gate) -> None:
    call = stub.RebuildProjection(api.RebuildProjectionRequest(name="slugs", mode=DRY_RUN), timeout=WAIT_S)
    assert gate.begun.wait(WAIT_S)
    assert projection_of(stub).rebuild_runs
    stub.CancelRebuild(api.CancelRebuildRequest(name="slugs"), timeout=WAIT_S)
    gate.opened.set()
    with pytest.raises(grpc.RpcError, match="was cancelled at position") as cancelled:
        list(call)
    assert (cancelled.value.code(), reason_of(cancelled.value)) == (grpc.StatusCode.ABORTED, "REBUILD_CANCELLED")
    assert until_held(stub).events >= 3
    gone = stub.DiscardRebuilds(api.DiscardRebuildsRequest(name="slugs"), timeout=WAIT_S).discarded
    assert len(gone) == 1
    assert not projection_of(stub).held_rebuilds


def test_a_rebuild_that_fails_is_not_begun_again_behind_the_callers_back(
    stub: ProjectionServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def fail(index: Index, **_: object) -> Comparison:
        begun.append(index.name)
        raise Unavailable("away")

    monkeypatch.setattr(Index, "rebuild", fail)
    with pytest.raises(grpc.RpcError, match="away"):
        list(stub.RebuildProjection(api.RebuildProjectionRequest(name="index"), timeout=WAIT_S))
    assert begun == ["index"]


def test_there_is_nothing_to_cancel_when_nothing_runs(stub: ProjectionServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub.CancelRebuild(api.CancelRebuildRequest(name="slugs"), timeout=WAIT_S)
    assert reason_of(refused.value) == "NO_REBUILD_RUNS"


def test_a_second_rebuild_of_a_projection_and_one_too_many_of_a_service_are_refused(
    stub: ProjectionServiceStub, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection_face, "REBUILDS_MAX", 1)
    call = stub.RebuildProjection(api.RebuildProjectionRequest(name="slugs", mode=DRY_RUN), timeout=WAIT_S)
    assert gate.begun.wait(WAIT_S)
    for name, code in (("slugs", "FAILED_PRECONDITION"), ("index", "RESOURCE_EXHAUSTED")):
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.RebuildProjection(api.RebuildProjectionRequest(name=name), timeout=WAIT_S))
        assert refused.value.code().name == code
    gate.opened.set()
    assert list(call)[-1].comparison.equal


def test_a_rebuild_is_held_at_a_position_and_goes_on_from_it(stub: ProjectionServiceStub, bench: Bench) -> None:
    bench.runner.wait_for([bench.meter(slug) for slug in "abcdef"][-1], WAIT_S)
    order = api.RebuildProjectionRequest(name="slugs", until_position=4)
    assert list(stub.RebuildProjection(order, timeout=WAIT_S))[-1].held == api.HeldRebuild(
        position=4, events=4, generation=2
    )
    order = api.RebuildProjectionRequest(name="slugs", from_position=4, mode=DRY_RUN)
    assert list(stub.RebuildProjection(order, timeout=WAIT_S))[-1].comparison.equal


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (api.RebuildProjectionRequest(name="slugs", resume=True, from_position=4), "INVALID_ARGUMENT"),
        (api.RebuildProjectionRequest(name="slugs", from_position=-1), "INVALID_ARGUMENT"),
        (api.RebuildProjectionRequest(name="slugs", until_position=99), "INVALID_ARGUMENT"),
        (api.RebuildProjectionRequest(name="slugs", example_keys_max=101), "INVALID_ARGUMENT"),
        (api.RebuildProjectionRequest(name="slugs", mode=9), "INVALID_ARGUMENT"),  # type: ignore[arg-type]  # no mode
        (api.RebuildProjectionRequest(name="slugs", resume=True), "FAILED_PRECONDITION"),
        (api.RebuildProjectionRequest(name="slugs", from_position=7), "FAILED_PRECONDITION"),
        (api.RebuildProjectionRequest(name="index", until_position=1), "FAILED_PRECONDITION"),
        (api.RebuildProjectionRequest(name="index", resume=True), "FAILED_PRECONDITION"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(
    stub: ProjectionServiceStub, order: api.RebuildProjectionRequest, code: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        list(stub.RebuildProjection(order, timeout=WAIT_S))
    assert refused.value.code().name == code


def test_parked_events_are_listed_page_by_page_and_skipped_for_ever(stub: ProjectionServiceStub, bench: Bench) -> None:
    bench.runner.wait_for([bench.renamed(slug) for slug in "abc"][-1], WAIT_S)
    assert projection_of(stub).parked_events == 3
    first = stub.ListParkedEvents(api.ListParkedEventsRequest(name="slugs", page_size=2), timeout=WAIT_S)
    request = api.ListParkedEventsRequest(name="slugs", page_size=2, page_token=first.next_page_token)
    second = stub.ListParkedEvents(request, timeout=WAIT_S)
    assert [event.position for event in (*first.events, *second.events)] == [1, 2, 3]
    assert (second.next_page_token, second.HasField("stopping")) == ("", False)
    order = api.SkipParkedEventRequest(name="slugs", position=2, reason="a test", decided_by="Ada")
    decided = stub.SkipParkedEvent(order, timeout=WAIT_S).skipped
    assert (decided.decided_by, decided.key_name, decided.decided_at) == ("Ada", "everybody", to_timestamp(NOON))
    assert stub.SkipParkedEvent(order, timeout=WAIT_S).skipped == decided
    listed = stub.ListSkippedEvents(api.ListSkippedEventsRequest(name="slugs"), timeout=WAIT_S)
    assert (list(listed.events), listed.next_page_token) == ([decided], "")
    assert (projection_of(stub).parked_events, projection_of(stub).skipped_events) == (2, 1)


def test_skipped_events_are_listed_page_by_page(stub: ProjectionServiceStub, bench: Bench) -> None:
    positions = [bench.renamed(slug) for slug in "abc"]
    bench.runner.wait_for(positions[-1], WAIT_S)
    for position in positions:
        order = api.SkipParkedEventRequest(name="slugs", position=position, reason="a test")
        stub.SkipParkedEvent(order, timeout=WAIT_S)
    request, listed = api.ListSkippedEventsRequest(name="slugs", page_size=2), []
    while True:
        page = stub.ListSkippedEvents(request, timeout=WAIT_S)
        listed += [event.position for event in page.events]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert listed == positions


def test_the_event_that_stops_a_projection_is_listed(stub: ProjectionServiceStub, bench: Bench) -> None:
    bench.projection.poison = "b"
    bench.meter("a")
    bench.meter("b")
    waiting = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        page = stub.ListParkedEvents(api.ListParkedEventsRequest(name="slugs"), timeout=WAIT_S)
        if page.HasField("stopping"):
            break
        waiting.wait(0.01)
    assert (page.stopping.position, page.stopping.reason, page.stopping.known) == (2, "ValueError: poison", True)


def test_an_index_says_that_it_sets_nothing_aside(stub: ProjectionServiceStub) -> None:
    with pytest.raises(grpc.RpcError, match="stop_reason says why") as refused:
        stub.ListParkedEvents(api.ListParkedEventsRequest(name="index"), timeout=WAIT_S)
    assert reason_of(refused.value) == "NOT_OPERABLE"
    listed = stub.ListProjections(api.ListProjectionsRequest(), timeout=WAIT_S).projections
    assert {found.name: found.sets_events_aside for found in listed} == {"index": False, "slugs": True}


def test_a_slow_caller_costs_progress_and_never_the_outcome() -> None:
    call = RebuildCall()
    for position in range(1, 2 * NEWS_MAX):
        call.tell(RebuildProgress(Position(position), Position(999), position))
    call.end(Comparison(Position(999), "aa", "aa", False))
    order = rebuild_call.RebuildOrder(RebuildMode.COMPARE_ONLY, Position(0), Position(0), 0)
    heard = list(call.messages(order))
    assert len(heard) == NEWS_MAX
    assert heard[-1].comparison.equal


def test_progress_of_a_cancelled_call_ends_the_rebuild() -> None:
    call = RebuildCall()
    call.cancel()
    with pytest.raises(Conflict, match="--resume"):
        call.tell(RebuildProgress(Position(1), Position(2), 1))


def test_a_rebuild_that_another_replica_runs_is_not_said_to_be_none() -> None:
    face = ProjectionFace([FoldedElsewhere()], SimulatedClock(NOON))
    with (
        served([(PROJECTION_SERVICE, face.register)]) as address,
        open_channel(address) as channel,
        pytest.raises(grpc.RpcError, match="meterlog pod-1 7") as refused,
    ):
        ProjectionServiceStub(channel).CancelRebuild(api.CancelRebuildRequest(name="elsewhere"), timeout=WAIT_S)
    assert reason_of(refused.value) == "REPLICA_FOLLOWS"
