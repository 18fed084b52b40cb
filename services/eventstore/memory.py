"""The event store in memory: for tests, and for trying things out. It is gone with the process."""

import threading
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from threading import Event as Signal

from services.eventstore.audit.chain import CHAIN_START, Commit
from services.eventstore.commit_bell import CommitBell
from services.eventstore.draft import AppendRequest, CommitDraft, draft_commit, prepare
from services.eventstore.event import (
    BEGINNING,
    NO_STREAM,
    Appended,
    Batch,
    CaughtUp,
    Head,
    NewEvent,
    Page,
    Position,
    RecordedEvent,
    StreamName,
    require_appendable,
)
from services.eventstore.group_commit import appended
from services.eventstore.reading import PAGE_BYTES_MAX, fitting, require_categories, require_from_version, require_limit
from services.eventstore.restoration import WholeCommit, next_versions, require_standing, unwritten, whole_commits
from services.eventstore.store import READ_LIMIT_MAX
from services.eventstore.subscription import follow
from services.kernel.clock import Clock
from services.kernel.errors import Unavailable


class MemoryEventStore:
    """An EventStore whose events live in lists; each append is a commit of its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._events: list[RecordedEvent] = []
        self._streams: dict[StreamName, list[RecordedEvent]] = {}
        self._categories: dict[str, list[RecordedEvent]] = {}
        self._commits: list[Commit] = []
        self._lock = threading.Lock()
        self._bell = CommitBell(lambda: self.head().position)
        self._is_closed = False

    def submit(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Future[Appended]:
        """As in `EventStore`; the future has ended when this returns."""
        require_appendable(stream, events, expected_version)
        request = AppendRequest(stream, tuple(events), expected_version)
        future: Future[Appended] = Future()
        with self._lock:
            self._require_open()
            prepared = prepare([request], self._clock.now())
            draft = draft_commit(prepared, self._head(), self._current_version, self._standing)
            self._write(draft)
        answer = draft.answers[0]
        if isinstance(answer, Appended):
            self._bell.ring(answer.position)
            future.set_result(answer)
        else:
            future.set_exception(answer)
        return future

    def append(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Appended:
        """As in `EventStore`."""
        return appended(self.submit(stream, events, expected_version))

    def read_stream(
        self, stream: StreamName, *, from_version: int = 0, limit: int = READ_LIMIT_MAX, backwards: bool = False
    ) -> tuple[RecordedEvent, ...]:
        """As in `EventStore`."""
        require_limit(limit)
        require_from_version(from_version, backwards=backwards)
        with self._lock:
            self._require_open()
            events = self._streams.get(stream, [])
            if not backwards:
                return tuple(events[from_version : from_version + limit])
            end = len(events) if from_version == -1 else min(from_version + 1, len(events))
            return tuple(reversed(events[max(0, end - limit) : end]))

    def read_all(self, *, after: Position, categories: Collection[str] = (), limit: int = READ_LIMIT_MAX) -> Page:
        """As in `EventStore`; a page ends at PAGE_BYTES_MAX, too."""
        require_limit(limit)
        require_categories(categories)
        with self._lock:
            self._require_open()
            behind = self._behind(after, categories, limit)
            end = max(after, self._head().position)
        events = tuple(fitting(behind[:limit], PAGE_BYTES_MAX))
        if len(events) < len(behind):
            return Page(events, events[-1].position, is_last=False)
        return Page(events, Position(end), is_last=True)

    def read_commits(self, *, after: Position, limit: int = READ_LIMIT_MAX) -> tuple[Commit, ...]:
        """As in `AuditableStore`."""
        require_limit(limit)
        with self._lock:
            self._require_open()
            start = bisect_right(self._commits, after, key=lambda commit: commit.last_position)
            return tuple(self._commits[start : start + limit])

    def stored_positions(self) -> tuple[Position, Position] | None:
        """As in `AuditableStore`."""
        with self._lock:
            self._require_open()
            return (self._events[0].position, self._events[-1].position) if self._events else None

    def leaf_at(self, position: Position) -> bytes:
        """As in `EventStore`."""
        with self._lock:
            self._require_open()
            is_there = BEGINNING < position <= len(self._events)
            return self._events[position - 1].leaf if is_there else b""

    def subscribe(
        self, *, after: Position, categories: Collection[str] = (), batch_max: int = 1000, stop: Signal
    ) -> Iterator[Batch | CaughtUp]:
        """As in `EventStore`."""
        require_limit(batch_max)
        require_categories(categories)
        return follow(self, self._bell, after=after, categories=categories, batch_max=batch_max, stop=stop)

    def head(self) -> Head:
        """As in `EventStore`."""
        with self._lock:
            self._require_open()
            return self._head()

    def restore(self, events: Sequence[RecordedEvent], commits: Sequence[Commit]) -> None:
        """As in `RestorableStore`."""
        wholes = whole_commits(events, commits)
        with self._lock:
            self._require_open()
            new = unwritten(wholes, self._head())
            for whole in wholes[: len(wholes) - len(new)]:
                self._require_standing(whole)
            next_versions(new, self._current_version)
            for whole in new:
                self._add(whole.events)
                self._commits.append(whole.commit)
            end = self._head().position
        self._bell.ring(end)

    def close(self) -> None:
        """As in `EventStore`; everything is forgotten."""
        with self._lock:
            self._is_closed = True

    def _require_open(self) -> None:
        if self._is_closed:
            raise Unavailable("the event store is closed; open it again", reason="EVENT_STORE_CLOSED")

    def _head(self) -> Head:
        if not self._commits:
            return Head(BEGINNING, CHAIN_START)
        return Head(self._commits[-1].last_position, self._commits[-1].chain)

    def _current_version(self, stream: StreamName) -> int:
        events = self._streams.get(stream)
        return events[-1].version if events else NO_STREAM

    def _standing(self, stream: StreamName, from_version: int, limit: int) -> Sequence[RecordedEvent]:
        return self._streams.get(stream, [])[from_version : from_version + limit]

    def _write(self, draft: CommitDraft) -> None:
        for placed in draft.placed:
            self._add(placed.recorded_events())
        if draft.commit:
            self._commits.append(draft.commit)

    def _add(self, events: Sequence[RecordedEvent]) -> None:
        self._events += events
        for event in events:
            self._streams.setdefault(event.stream, []).append(event)
            self._categories.setdefault(event.stream.category, []).append(event)

    def _require_standing(self, whole: WholeCommit) -> None:
        commit = whole.commit
        leaves = [event.leaf for event in self._events[commit.first_position - 1 : commit.last_position]]
        index = bisect_right(self._commits, commit.last_position - 1, key=lambda each: each.last_position)
        is_there = index < len(self._commits) and self._commits[index].last_position == commit.last_position
        require_standing(whole, leaves, self._commits[index].chain if is_there else None)

    def _behind(self, after: Position, categories: Collection[str], limit: int) -> list[RecordedEvent]:
        """Up to limit + 1 events behind `after`, so that the last page is known to be the last."""
        if not categories:
            return _slice_behind(self._events, after, limit + 1)
        found: list[RecordedEvent] = []
        for category in set(categories):
            found += _slice_behind(self._categories.get(category, []), after, limit + 1)
        return sorted(found, key=_position)[: limit + 1]


def _slice_behind(events: list[RecordedEvent], after: Position, count: int) -> list[RecordedEvent]:
    start = bisect_right(events, after, key=_position)
    return events[start : start + count]


def _position(event: RecordedEvent) -> Position:
    return event.position
