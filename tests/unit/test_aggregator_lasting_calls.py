"""Calls that wait for a long count, over gRPC: they take no thread from others, are bounded, and say how it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from meterlog.aggregator.v1 import aggregator_pb2 as api
from meterlog.aggregator.v1 import aggregator_pb2_grpc, correction_pb2, correction_pb2_grpc
from services.aggregator.waiting.lasting_calls import seconds_of
from services.rpc.channel import open_channel
from services.rpc.interceptor import HANDLER_THREADS_MAX
from tests.aggregator_room import WAIT_S, AggregatorRoom
from tests.corrected_room import filled_room, name
from tests.held_count import HeldCount
from tests.patience import in_time, patiently
from tests.served_room import served_room

CALLS = api.Meter(slug="calls", event_type="call", aggregation=api.AGGREGATION_COUNT)
CREATION = api.CreateMeterRequest(meter=CALLS)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    with filled_room(tmp_path) as opened:
        yield opened


@pytest.fixture
def held(room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldCount]:
    hold = HeldCount(monkeypatch)
    yield hold
    hold.let_go()


@dataclass(frozen=True)
class Stubs:
    """Both services of one aggregator."""

    meters: aggregator_pb2_grpc.AggregatorServiceStub
    corrections: correction_pb2_grpc.CorrectionServiceStub


@contextmanager
def asked(room: AggregatorRoom) -> Iterator[Stubs]:
    with served_room(room) as address, open_channel(address, "") as channel:
        yield Stubs(
            aggregator_pb2_grpc.AggregatorServiceStub(channel), correction_pb2_grpc.CorrectionServiceStub(channel)
        )


def info_of(error: grpc.RpcError) -> ErrorInfo:
    """What the service said of an error; nothing when it was the caller's side that gave up."""
    info = ErrorInfo()
    for key, content in cast(Any, error).trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            _ = [detail.Unpack(info) for detail in Status.FromString(content).details]
    return info


def test_while_many_callers_wait_for_a_long_count_every_other_call_is_answered(
    room: AggregatorRoom, held: HeldCount
) -> None:
    held.arm()
    with asked(room) as stubs:
        waiting = [stubs.meters.CreateMeter.future(CREATION, timeout=WAIT_S) for _ in range(HANDLER_THREADS_MAX + 8)]
        held.wait()
        assert stubs.meters.GetCounting(api.GetCountingRequest(), timeout=WAIT_S).counting.meters == ["calls"]
        assert stubs.meters.GetMeter(api.GetMeterRequest(slug="calls"), timeout=WAIT_S).meter.HasField("counting")
        assert len(stubs.meters.ListMeters(api.ListMetersRequest(), timeout=WAIT_S).meters) == 3
        early = api.CreateMeterRequest(meter=CALLS, answer_early=True)
        assert stubs.meters.CreateMeter(early, timeout=WAIT_S).meter.counting.total_count == 4
        assert not any(call.done() for call in waiting)
        held.let_go()
        assert {call.result(WAIT_S).meter.HasField("counting") for call in waiting} == {False}


def test_more_callers_than_may_wait_are_told_to_come_later(
    room: AggregatorRoom, held: HeldCount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.aggregator.waiting.lasting_calls.CALLS_MAX", 2)
    held.arm()
    with asked(room) as stubs:
        waiting = [stubs.meters.CreateMeter.future(CREATION, timeout=WAIT_S) for _ in range(2)]
        held.wait()

        def come_too(deadline_s: float) -> None:
            with pytest.raises(grpc.RpcError) as refusal:
                stubs.meters.CreateMeter(CREATION, timeout=deadline_s)
            in_time(info_of(refusal.value).reason == "TOO_MANY_WAITING")
            assert cast(Any, refusal.value).code() is grpc.StatusCode.RESOURCE_EXHAUSTED

        patiently(come_too)
        early = api.CreateMeterRequest(meter=CALLS, answer_early=True)
        assert stubs.meters.CreateMeter(early, timeout=WAIT_S).meter.HasField("counting")
        held.let_go()
        assert all(call.result(WAIT_S) for call in waiting)
        assert stubs.meters.CreateMeter(CREATION, timeout=WAIT_S).meter.slug == "calls"


def test_a_deadline_that_passes_is_answered_with_the_position_before_it_does(
    room: AggregatorRoom, held: HeldCount
) -> None:
    held.arm()
    with asked(room) as stubs:

        def create_too_late(deadline_s: float) -> None:
            with pytest.raises(grpc.RpcError) as late:
                stubs.meters.CreateMeter(CREATION, timeout=deadline_s)
            assert cast(Any, late.value).code() is grpc.StatusCode.DEADLINE_EXCEEDED
            info = info_of(late.value)
            in_time(info.reason == "STILL_COUNTING")
            assert info.metadata["position"] == str(room.store.head().position)

        patiently(create_too_late)


def test_a_caller_that_goes_away_leaves_its_place_to_the_next(
    room: AggregatorRoom, held: HeldCount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.aggregator.waiting.lasting_calls.WAITING_MAX", 1)
    held.arm()
    request = correction_pb2.AmendUsageRequest(key="a", name=name(0, 3), value="9", reason="wrong")
    with asked(room) as stubs:
        first = stubs.meters.CreateMeter.future(CREATION, timeout=WAIT_S)
        held.wait()

        def amend_behind(deadline_s: float) -> None:
            with pytest.raises(grpc.RpcError) as late:
                stubs.corrections.AmendUsage(request, timeout=deadline_s)
            in_time("other calls waited" in str(cast(Any, late.value).details()))

        patiently(amend_behind)
        first.cancel()
        held.let_go()
        assert stubs.corrections.AmendUsage(request, timeout=WAIT_S).correction.value == "9"


@dataclass(frozen=True)
class Context:
    """The context of a call with so many seconds left."""

    left_s: float | None

    def time_remaining(self) -> float | None:
        return self.left_s


@pytest.mark.parametrize(
    ("left_s", "seconds"),
    [(None, 29.5), (1.0, 0.9), (120.0, 119.5), (3_000.0, 2_999.5), (100_000.0, 3_599.5), (0.0, 0.0)],
)
def test_a_caller_has_the_time_that_it_set_up_to_an_hour(left_s: float | None, seconds: float) -> None:
    assert seconds_of(Context(left_s)) == pytest.approx(seconds)
