"""Group commit: appends of many callers share one transaction, written by one thread.

While a commit runs, the next group gathers, so nobody waits for company: a lone append is committed at once.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass

from services.eventstore.draft import AppendRequest
from services.eventstore.event import Appended
from services.eventstore.store import APPEND_TIMEOUT_S
from services.kernel.errors import DomainError, Overloaded, TimedOut, Unavailable
from services.kernel.failpoint import fail_at

Answer = Appended | DomainError
"""What became of one append: where it ended up, or the error that its caller gets."""

CommitAppends = Callable[[Sequence[AppendRequest]], Sequence[Answer]]
"""Write the appends in one durable transaction and answer each, in order; raise, and none of them is written.

When whether they are written cannot be told, it raises Unavailable.
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """How much may wait, and how much is committed together; a single append always fits into a group."""

    queue_requests_max: int = 10_000
    queue_bytes_max: int = 64 * 1024 * 1024
    group_requests_max: int = 2_000
    group_bytes_max: int = 4 * 1024 * 1024
    idle_wait_s: float = 60.0
    close_timeout_s: float = 30.0


class GroupCommit:
    """A bounded queue of appends in front of one writer thread. Safe to share between threads."""

    def __init__(
        self,
        commit: CommitAppends,
        *,
        after_commit: Callable[[], None] = lambda: None,
        limits: GroupLimits | None = None,
    ) -> None:
        """`after_commit` runs on the writer thread once the callers have been answered; what it raises is logged."""
        self._commit = commit
        self._after_commit = after_commit
        self._limits = limits or GroupLimits()
        self._queue: deque[_Queued] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self._writer = threading.Thread(target=self._write_groups, name="event-store-writer", daemon=True)
        self._writer.start()

    def submit(self, request: AppendRequest) -> Future[Appended]:
        """Queue an append; the future ends after the commit. Raises Overloaded when the queue is full.

        Cancelling the future takes the append out of the queue, as long as its commit has not begun.
        """
        queued = _Queued(request, _size(request), Future())
        with self._changed:
            self._require_room(queued.size)
            self._queue.append(queued)
            self._queued_bytes += queued.size
            self._changed.notify()
        return queued.future

    def close(self) -> None:
        """Commit what is queued, then end the writer; TimedOut when that takes too long. Safe to repeat."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._writer.join(self._limits.close_timeout_s)
        if self._writer.is_alive():
            raise TimedOut(f"the queued appends were not committed within {self._limits.close_timeout_s:g} s")

    def _require_room(self, size: int) -> None:
        if self._is_closed:
            raise Unavailable("the event store is closed; open it again", reason="EVENT_STORE_CLOSED")
        is_full = len(self._queue) >= self._limits.queue_requests_max
        if is_full or self._queued_bytes + size > self._limits.queue_bytes_max:
            raise Overloaded(f"{len(self._queue)} appends are waiting to be committed; wait, then repeat")

    def _write_groups(self) -> None:
        while self._wait_for_appends():
            group = self._take_group()
            if group:
                self._answer(group, self._commit_answers(group))
                self._tidy_up()

    def _wait_for_appends(self) -> bool:
        """Whether there is something to commit; False when the store is closed and everything is done."""
        with self._changed:
            while not self._queue and not self._is_closed:
                self._changed.wait(self._limits.idle_wait_s)
            return bool(self._queue)

    def _take_group(self) -> "list[_Queued]":
        """The oldest queued appends up to the group's limits, without those that were cancelled."""
        taken: list[_Queued] = []
        size = 0
        with self._changed:
            while self._queue and len(taken) < self._limits.group_requests_max:
                size += self._queue[0].size
                if taken and size > self._limits.group_bytes_max:
                    break
                taken.append(self._queue.popleft())
                self._queued_bytes -= taken[-1].size
        return [queued for queued in taken if queued.future.set_running_or_notify_cancel()]

    def _commit_answers(self, group: "list[_Queued]") -> Sequence[Answer]:
        try:
            return self._commit([queued.request for queued in group])
        except DomainError as error:
            return [error] * len(group)
        except Exception as error:  # noqa: BLE001 - outermost loop of the writer: no caller may be left unanswered
            _log.exception("a commit failed in an unforeseen way")
            unknown = Unavailable(f"the commit failed, its outcome is unknown: {error!r}; repeat the append")
            return [unknown] * len(group)

    def _tidy_up(self) -> None:
        """What comes after the answers concerns no caller, so it must not end the thread that serves them."""
        try:
            fail_at("append.after_answer")
            self._after_commit()
        except Exception:  # noqa: BLE001 - outermost loop of the writer: it must go on for the next callers
            _log.exception("what follows a commit failed; the appends before it are written")

    @staticmethod
    def _answer(group: "list[_Queued]", answers: Sequence[Answer]) -> None:
        for queued, answer in zip(group, answers, strict=True):
            if isinstance(answer, Appended):
                queued.future.set_result(answer)
            else:
                queued.future.set_exception(answer)


def appended(future: Future[Appended], timeout_s: float = APPEND_TIMEOUT_S) -> Appended:
    """Wait for an append; TimedOut when it takes longer, its outcome then unknown."""
    try:
        return future.result(timeout_s)
    except FutureTimeout as error:
        future.cancel()
        raise TimedOut(f"the append was not durable after {timeout_s:g} s; repeat the very same append") from error


@dataclass(frozen=True, slots=True)
class _Queued:
    request: AppendRequest
    size: int
    future: Future[Appended]


_EVENT_OVERHEAD_BYTES = 200


def _size(request: AppendRequest) -> int:
    """Bytes that an append takes in the queue and in the log, roughly."""
    return sum(len(event.payload) for event in request.events) + _EVENT_OVERHEAD_BYTES * len(request.events)
