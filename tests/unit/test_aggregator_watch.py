"""Watching usage: what a watcher is told, over real gRPC, and how watchers are kept apart from calls."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as api
from meterlog.aggregator.v1 import aggregator_pb2_grpc
from services.aggregator.api.watch import UsageWatch
from services.aggregator.questions.fold_bell import FoldBell
from services.aggregator.questions.query import UsageRow
from services.aggregator.questions.watch import PAUSE_S, Told, pause_s
from services.kernel.calendar import Span
from services.kernel.clock import monotonic_s
from services.kernel.timestamp import to_timestamp
from services.rpc.interceptor import HANDLER_THREADS_MAX
from tests.aggregator_room import DAY, WAIT_S, AggregatorRoom, call, open_room
from tests.patience import in_time, patiently
from tests.served_room import served_room

SPAN = Span(DAY, DAY + timedelta(days=1))

ROUNDS_MAX = 60
"""A machine that stands still delays rounds; who looks every second or less often delays them all."""


def row(group: str, value: str | None) -> UsageRow:
    return UsageRow(SPAN, (group,), value)


# --- what is told ----------------------------------------------------------------------------------------------------


def test_a_watcher_is_told_everything_once_and_then_only_what_changed() -> None:
    told = Told()

    assert told.news([row("a", "1"), row("b", "2")]) == [row("a", "1"), row("b", "2")]
    assert told.news([row("a", "1"), row("b", "2")]) == []
    assert told.news([row("a", "1"), row("b", "3"), row("c", "4")]) == [row("b", "3"), row("c", "4")]


def test_a_group_that_is_gone_has_no_value_and_may_come_back() -> None:
    told = Told()
    told.news([row("a", "1"), row("b", "2")])

    assert told.news([row("b", "2")]) == [row("a", None)]
    assert told.news([row("b", "2")]) == []
    assert told.news([row("a", "1"), row("b", "2")]) == [row("a", "1")]


def test_a_watcher_rests_longer_the_more_its_answer_costs() -> None:
    assert pause_s(0.001) == PAUSE_S
    assert pause_s(1.0) == 4.0


# --- over gRPC -------------------------------------------------------------------------------------------------------


class WatchedRoom:
    """A room behind a real server."""

    def __init__(self, room: AggregatorRoom, stub: aggregator_pb2_grpc.AggregatorServiceStub, bell: FoldBell) -> None:
        self.room = room
        self.stub = stub
        self.bell = bell

    def watch(self, timeout: float | None = WAIT_S, **fields: Any) -> Any:
        day = {"start_at": to_timestamp(SPAN.start), "end_at": to_timestamp(SPAN.end)}
        return self.stub.WatchUsage(api.WatchUsageRequest(**{"meter": "tokens", **day, **fields}), timeout=timeout)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedRoom]:
    with ExitStack() as stack:
        room = stack.enter_context(open_room(tmp_path))
        bell = FoldBell(room.windows)
        watch = UsageWatch(room.store, room.windows, room.clock, bell)
        bell.start()
        stack.callback(bell.stop, WAIT_S)
        address = stack.enter_context(served_room(room, watch))
        channel = stack.enter_context(grpc.insecure_channel(address))
        yield WatchedRoom(room, aggregator_pb2_grpc.AggregatorServiceStub(channel), bell)


def told_until(watching: Any, is_enough: Callable[[dict[str, str | None]], bool]) -> dict[str, str | None]:
    """What a watcher by region knows when it has been told enough."""
    known: dict[str, str | None] = {}
    for news in watching:
        for changed in news.rows:
            known[changed.group.get("region", "")] = changed.value if changed.HasField("value") else None
        if is_enough(known):
            return known
    raise AssertionError(f"the watch ended: {known}")


def test_running_totals_are_told_as_they_change(watched: WatchedRoom) -> None:
    watched.room.create()
    watched.room.record([call(0, "1", region="eu"), call(0, "2", region="us")])
    watching = watched.watch(group_by=["region"])

    first = next(watching)
    assert [(told.group["region"], told.value) for told in first.rows] == [("eu", "1"), ("us", "2")]
    assert first.rows[0].start_at.ToDatetime(UTC) == SPAN.start
    position = watched.room.record([call(1, "5", region="us")])
    second = next(watching)
    assert ([(told.group["region"], told.value) for told in second.rows]) == [("us", "7")]
    assert second.position >= position
    watching.cancel()


def test_a_watcher_without_groups_is_told_one_row_from_the_first_moment(watched: WatchedRoom) -> None:
    watched.room.create()
    watching = watched.watch(subjects=["ann"])

    assert [told.value for told in next(watching).rows] == ["0"]
    watched.room.record([call(0, "3"), call(0, "100", subject="bob")])
    assert [told.value for told in next(watching).rows] == ["3"]
    watching.cancel()


def test_recorded_usage_is_told_within_a_second(watched: WatchedRoom) -> None:
    watched.room.create()
    watching = watched.watch()
    next(watching)
    in_a_second = 0
    for number in range(1, ROUNDS_MAX + 1):
        began = monotonic_s()
        watched.room.log.record([call(0, "1")])
        assert told_until(watching, lambda known: known.get("") == str(number)) == {"": str(number)}  # noqa: B023 (used at once)
        in_a_second += monotonic_s() - began < 1.0
        if in_a_second == 5:
            break
    watching.cancel()

    assert in_a_second == 5


def test_a_filter_keeps_other_groups_from_a_watcher(watched: WatchedRoom) -> None:
    watched.room.create()
    only_eu = api.UsageCondition(property="region", operator=api.CONDITION_OPERATOR_EQUALS, values=["eu"])
    watching = watched.watch(group_by=["region"], filters=[only_eu])
    assert not next(watching).rows

    watched.room.record([call(0, "1", region="us")])
    watched.room.record([call(0, "2", region="eu")])

    assert told_until(watching, bool) == {"eu": "2"}
    watching.cancel()


def test_more_watchers_than_threads_leave_calls_their_threads(watched: WatchedRoom) -> None:
    watched.room.create()
    watching = [watched.watch(group_by=["region"]) for _ in range(HANDLER_THREADS_MAX + 8)]
    with ThreadPoolExecutor(len(watching)) as listeners:
        heard = [listeners.submit(told_until, each, lambda known: known.get("eu") == "6") for each in watching]
        watched.room.record([call(0, "6", region="eu")])
        for each in heard:
            assert each.result(WAIT_S) == {"eu": "6"}
        assert watched.stub.GetMeter(api.GetMeterRequest(slug="tokens"), timeout=WAIT_S).meter.slug == "tokens"
    for each in watching:
        each.cancel()


def test_watchers_are_bounded_and_leave_their_place(watched: WatchedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.aggregator.api.watch.WATCHERS_MAX", 1)
    watched.room.create()
    first = watched.watch()
    next(first)

    with pytest.raises(grpc.RpcError) as refusal:
        next(watched.watch())
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    first.cancel()
    assert _admitted_at_last(watched)


def _admitted_at_last(watched: WatchedRoom) -> bool:
    """Whether a watcher is admitted, once the server has heard that the one before is gone."""
    until = monotonic_s() + WAIT_S
    while monotonic_s() < until:
        watching = watched.watch()
        with suppress(grpc.RpcError):
            next(watching)
            watching.cancel()
            return True
    return False


def test_a_watch_ends_with_the_deadline_of_its_caller(watched: WatchedRoom) -> None:
    watched.room.create()

    def watch(deadline_s: float) -> None:
        told: list[object] = []
        with pytest.raises(grpc.RpcError) as end:
            told.extend(watched.watch(timeout=deadline_s))
        assert end.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        in_time(len(told) > 0)
        assert len(told) == 1

    patiently(watch)


def test_a_service_that_stops_sends_watchers_away_at_once(watched: WatchedRoom) -> None:
    watched.room.create()
    watching = watched.watch(timeout=None)
    next(watching)
    watched.bell.drain()

    with pytest.raises(grpc.RpcError) as end:
        next(watching)
    assert end.value.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.RpcError) as refusal:
        next(watched.watch())
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"meter": "nothing"}, grpc.StatusCode.NOT_FOUND),
        ({"group_by": ["tier"]}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"end_at": to_timestamp(SPAN.start)}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_a_malformed_watch_is_refused_like_a_query(
    watched: WatchedRoom, asked: dict[str, Any], code: grpc.StatusCode
) -> None:
    watched.room.create()
    with pytest.raises(grpc.RpcError) as refusal:
        next(watched.watch(**asked))
    assert refusal.value.code() is code


def test_too_many_rows_are_not_watched(watched: WatchedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.aggregator.api.watch.WATCHED_ROWS_MAX", 3)
    watched.room.create()
    watched.room.record([call(0, region=str(number)) for number in range(4)])

    with pytest.raises(grpc.RpcError) as refusal:
        next(watched.watch(group_by=["region"]))
    assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_the_bell_rings_for_whoever_follows_the_fold(tmp_path: Path) -> None:
    with open_room(tmp_path) as room:
        before = room.windows.position()
        reached: list[int] = []
        waiting = threading.Thread(
            target=lambda: reached.append(room.windows.wait_for_move(before, WAIT_S)), daemon=True
        )
        waiting.start()
        position = room.record([call(0)])
        waiting.join(WAIT_S)

        assert reached == [position]
        assert room.windows.wait_for_move(before, 0.0) == position
