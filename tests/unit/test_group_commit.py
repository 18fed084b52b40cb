"""Appends that share a commit: who waits for what, what a failure costs, and where the queue ends."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from uuid import UUID

import pytest

from services.eventstore.draft import AppendRequest
from services.eventstore.event import NO_STREAM, Appended, NewEvent, Position, StreamName, WrongExpectedVersion
from services.eventstore.group_commit import Answer, GroupCommit, GroupLimits, appended
from services.kernel.errors import Overloaded, TimedOut, Unavailable

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
WAIT_S = 60.0


def request(number: int, payload_bytes: int = 0) -> AppendRequest:
    return AppendRequest(
        StreamName("meter", str(number)), (NewEvent(UUID(int=number), "A", 1, bytes(payload_bytes)),), NO_STREAM
    )


class Backend:
    """Notes the groups that it gets, and commits none before its gate is open."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.failures: list[Exception] = []

    def commit(self, requests: Sequence[AppendRequest]) -> Sequence[Answer]:
        self.groups.append([int(each.stream.id) for each in requests])
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        if self.failures:
            raise self.failures.pop()
        return [Appended(Position(1), 0, NOON, (b"leaf",)) for _ in requests]


@pytest.fixture
def backend() -> Backend:
    return Backend()


Started = Callable[..., GroupCommit]


@pytest.fixture
def started(backend: Backend) -> Iterator[Started]:
    groups: list[GroupCommit] = []

    def start(limits: GroupLimits | None = None) -> GroupCommit:
        groups.append(GroupCommit(backend.commit, limits=limits))
        return groups[-1]

    yield start
    backend.gate.set()
    for group in groups:
        group.close()


def busy(started: Started, backend: Backend, limits: GroupLimits | None = None) -> tuple[GroupCommit, Future[Appended]]:
    """A group commit in the midst of committing append 0."""
    group = started(limits)
    first = group.submit(request(0))
    assert backend.entered.wait(WAIT_S)
    return group, first


def test_while_a_commit_runs_the_next_group_gathers(started: Started, backend: Backend) -> None:
    group, first = busy(started, backend)
    waiting = [group.submit(request(number)) for number in range(1, 6)]
    backend.gate.set()
    for future in (first, *waiting):
        assert future.result(WAIT_S).position == 1
    assert backend.groups == [[0], [1, 2, 3, 4, 5]]


def test_nobody_is_answered_before_the_commit(started: Started, backend: Backend) -> None:
    _, first = busy(started, backend)
    assert not first.done()
    backend.gate.set()
    assert first.result(WAIT_S)


def test_a_lone_append_does_not_wait_for_company(
    started: Started, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer is woken by it, since by itself it would not look for an hour, and never rests beside a queue."""
    backend.gate.set()
    group = started(limits=GroupLimits(idle_wait_s=3_600.0))
    rest, queued_at_rest = group._changed.wait, set[int]()

    def noted_rest(timeout_s: float | None = None) -> bool:
        queued_at_rest.add(len(group._queue))
        return rest(timeout_s)

    monkeypatch.setattr(group._changed, "wait", noted_rest)
    for number in range(200):
        group.submit(request(number)).result(WAIT_S)
    assert backend.groups == [[number] for number in range(200)]
    assert queued_at_rest == {0}


def test_a_conflict_fails_only_its_own_append() -> None:
    conflict = WrongExpectedVersion(StreamName("meter", "1"), 5, 0)

    def commit(requests: Sequence[AppendRequest]) -> Sequence[Answer]:
        return [conflict if each.stream.id == "1" else Appended(Position(1), 0, NOON, (b"leaf",)) for each in requests]

    group = GroupCommit(commit)
    futures = [group.submit(request(number)) for number in range(3)]
    assert futures[1].exception(WAIT_S) is conflict
    assert futures[0].result(WAIT_S) == futures[2].result(WAIT_S)
    group.close()


def test_a_storage_failure_fails_the_whole_group_and_the_next_goes_on(started: Started, backend: Backend) -> None:
    group, first = busy(started, backend)
    waiting = [group.submit(request(number)) for number in (1, 2)]
    backend.failures = [Unavailable("the disk is full")]
    backend.gate.set()
    assert isinstance(first.exception(WAIT_S), Unavailable)
    assert [future.exception(WAIT_S) for future in waiting] == [None, None]


def test_an_unforeseen_failure_leaves_nobody_without_an_answer(started: Started, backend: Backend) -> None:
    group, first = busy(started, backend)
    backend.failures = [ZeroDivisionError("a bug")]
    backend.gate.set()
    error = first.exception(WAIT_S)
    assert isinstance(error, Unavailable)
    assert "a bug" in error.message
    assert group.submit(request(1)).result(WAIT_S)


def test_a_full_queue_pushes_back_and_has_room_again(started: Started, backend: Backend) -> None:
    group, _ = busy(started, backend, GroupLimits(queue_requests_max=2))
    waiting = [group.submit(request(number)) for number in (1, 2)]
    with pytest.raises(Overloaded):
        group.submit(request(3))
    backend.gate.set()
    for future in waiting:
        future.result(WAIT_S)
    assert group.submit(request(4)).result(WAIT_S)


def test_a_queue_full_of_bytes_pushes_back(started: Started, backend: Backend) -> None:
    group, _ = busy(started, backend, GroupLimits(queue_bytes_max=10_000))
    group.submit(request(1, payload_bytes=6_000))
    with pytest.raises(Overloaded):
        group.submit(request(2, payload_bytes=6_000))
    group.submit(request(3, payload_bytes=100))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (GroupLimits(group_requests_max=2), [[0], [1, 2], [3, 4], [5]]),
        (GroupLimits(group_bytes_max=2_500), [[0], [1, 2], [3, 4], [5]]),
        (GroupLimits(group_bytes_max=10), [[0], [1], [2], [3], [4], [5]]),
    ],
    ids=["by count", "by bytes", "one that is too large goes alone"],
)
def test_a_group_has_an_end(started: Started, backend: Backend, limits: GroupLimits, expected: list[list[int]]) -> None:
    group, _ = busy(started, backend, limits)
    waiting = [group.submit(request(number, payload_bytes=1_000)) for number in range(1, 6)]
    backend.gate.set()
    for future in waiting:
        future.result(WAIT_S)
    assert backend.groups == expected


def test_an_append_that_is_cancelled_while_it_waits_is_not_written(started: Started, backend: Backend) -> None:
    group, _ = busy(started, backend)
    cancelled, kept = group.submit(request(1)), group.submit(request(2))
    assert cancelled.cancel()
    backend.gate.set()
    assert kept.result(WAIT_S)
    assert backend.groups == [[0], [2]]


def test_when_all_that_wait_are_cancelled_the_writer_goes_on(started: Started, backend: Backend) -> None:
    group, first = busy(started, backend)
    assert group.submit(request(1)).cancel()
    backend.gate.set()
    first.result(WAIT_S)
    assert group.submit(request(2)).result(WAIT_S)


def test_an_append_that_takes_too_long_says_that_its_outcome_is_unknown(started: Started, backend: Backend) -> None:
    _, first = busy(started, backend)
    with pytest.raises(TimedOut, match="repeat the very same append"):
        appended(first, timeout_s=0.01)


def test_closing_commits_what_is_queued_and_takes_no_more(started: Started, backend: Backend) -> None:
    group, first = busy(started, backend)
    queued = [group.submit(request(number)) for number in range(1, 4)]
    backend.gate.set()
    group.close()
    assert all(future.done() and future.exception() is None for future in (first, *queued))
    with pytest.raises(Unavailable):
        group.submit(request(9))


def test_closing_does_not_wait_for_ever(started: Started, backend: Backend) -> None:
    group, _ = busy(started, backend, GroupLimits(close_timeout_s=0.01))
    with pytest.raises(TimedOut):
        group.close()


def test_what_is_done_after_a_commit_comes_after_the_answers(backend: Backend) -> None:
    answered: list[bool] = []
    futures: list[Future[Appended]] = []
    group = GroupCommit(backend.commit, after_commit=lambda: answered.append(futures[0].done()))
    futures.append(group.submit(request(1)))
    backend.gate.set()
    group.close()
    assert answered == [True]
