"""The log that all nodes share: events in one order, streams, and who waits for news."""

import json
import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from kurrentdbclient.protos.v1 import streams_pb2

from services.kernel.clock import Clock, SystemClock
from tests.kurrentdb_server.expectation import (
    DELETED,
    Refused,
    Repeated,
    Stream,
    verdict_on,
)
from tests.kurrentdb_server.journal import Journal
from tests.kurrentdb_server.recent_ids import RecentIds
from tests.kurrentdb_server.record import Proposed, Record, record

SYSTEM_EVENT_EVERY = 10
NEWS_WAIT_S = 1.0

EPOCH_STREAM = "$epoch-information"
STATS_STREAM = "$stats-127.0.0.1:2113"


@dataclass(frozen=True, slots=True)
class Written:
    """Where the last event of an append stands; no position when the append held no event."""

    revision: int
    position: int | None


class EventLog:
    """Positions are byte offsets: they grow, have gaps, and only those of records exist.

    Events of the server itself stand between those of clients: one behind the append that makes it
    `system_event_every` events since the last (0: only those of elections). All events of one commit become visible
    at once.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        journal: Journal | None = None,
        system_event_every: int = SYSTEM_EVENT_EVERY,
    ) -> None:
        self._clock = clock or SystemClock()
        self._journal = journal
        self._system_event_every = system_event_every
        self._since_system_event = 0
        self._news = threading.Condition()
        self._records: list[Record] = []
        self._positions: list[int] = []
        self._streams: dict[str, Stream] = {}
        self._length = 0
        for commit in journal.replay() if journal else ():
            self._place(commit)
        self.note_epoch()

    @property
    def length(self) -> int:
        """How many records readers may see."""
        return self._length

    @property
    def end(self) -> int:
        """The position behind the newest record."""
        return self._records[self._length - 1].end

    @property
    def last_position(self) -> int:
        """The position of the newest record."""
        return self._records[self._length - 1].position

    def records(self, start: int, end: int | None = None) -> list[Record]:
        """Visible records by their number in the log."""
        return self._records[start : self._length if end is None else min(end, self._length)]

    def position_at(self, index: int) -> int:
        """The position of that record; also of the one that may come next."""
        return self._records[index - 1].end if index else 0

    def index_of(self, position: int) -> int | None:
        """Which record stands at `position`; the length of the log for any position behind it; None for no record."""
        with self._news:
            if position > self.last_position:
                return self._length
            index = bisect_left(self._positions, position)
            return index if self._positions[index] == position else None

    def count_before(self, position: int) -> int | None:
        """How many records stand before `position`; None when it is neither that of a record nor the end."""
        with self._news:
            return None if self.last_position < position != self.end else self.index_of(position)

    def stream(self, name: str) -> Stream:
        """That stream as it is now; one without events when nothing was ever appended."""
        with self._news:
            return self._stream(name).snapshot()

    def append(self, name: str, expected: int, proposed: Sequence[Proposed], recent: RecentIds) -> Written | Refused:
        """All of `proposed` or none; a repeat is answered like the first time."""
        with self._news:
            stream = self._stream(name)
            verdict = verdict_on(stream, expected, [event.event_id for event in proposed], recent)
            if isinstance(verdict, Refused):
                return verdict
            if isinstance(verdict, Repeated):
                return Written(verdict.last_revision, stream.records[verdict.last_revision].position)
            if not proposed:
                return Written(stream.last, None)
            undeleted = [_truncation(name, stream.last + 1)] if stream.is_soft_deleted else []
            planned = [*undeleted, *((name, event) for event in proposed), *self._due_system_events(len(proposed))]
            written = [made for made in self._commit(planned) if made.stream == name]
            for made in written:
                recent.remember(name, made.revision, made.event_id)
            return Written(written[-1].revision, written[-1].position)

    def delete(self, name: str, expected: int, recent: RecentIds) -> Written | Refused:
        """Softly: the events stay in the log, the stream reads as if it had none, and may be continued."""
        with self._news:
            stream = self._stream(name)
            verdict = verdict_on(stream, expected, [uuid4()], recent)
            if isinstance(verdict, Refused):
                return verdict
            if stream.last < 0 and not stream.has_metadata:
                return Refused(-1)
            made = self._commit([_truncation(name, DELETED)])[-1]
            return Written(made.revision, made.position)

    def tombstone(self, name: str, expected: int, recent: RecentIds) -> Written | Refused:
        """For good: nobody may read the stream or append to it again."""
        with self._news:
            verdict = verdict_on(self._stream(name), expected, [uuid4()], recent)
            if isinstance(verdict, Refused):
                return verdict
            made = self._commit([(name, _system_event("$streamDeleted", {}))])[-1]
            return Written(made.revision, made.position)

    def note_epoch(self) -> None:
        """A node took the lead; that, too, stands in the log."""
        with self._news:
            self._commit([(EPOCH_STREAM, _system_event("$epoch-information", {"epochNumber": len(self._positions)}))])

    def wait_for_news(self, index: int, is_wanted: Callable[[], bool]) -> None:
        """Until there is a record number `index`, or nobody wants it any more."""
        with self._news:
            while self._length <= index and is_wanted():
                self._news.wait(NEWS_WAIT_S)

    def wake(self) -> None:
        """Let everybody who waits look again."""
        with self._news:
            self._news.notify_all()

    def close(self) -> None:
        """Let go of the file, if there is one."""
        if self._journal:
            self._journal.close()

    def _stream(self, name: str) -> Stream:
        return self._streams.get(name) or Stream(name)

    def _commit(self, planned: Sequence[tuple[str, Proposed]]) -> list[Record]:
        now = self._clock.now()
        revisions: dict[str, int] = {}
        position = self.end if self._length else 0
        made = []
        for name, event in planned:
            revisions[name] = revisions.get(name, self._stream(name).last) + 1
            revision = DELETED if event.type == "$streamDeleted" else revisions[name]
            made.append(record(event, name, revision, position, now))
            position = made[-1].end
        if self._journal:
            self._journal.write(made)
        self._place(made)
        self._news.notify_all()
        return made

    def _place(self, commit: Sequence[Record]) -> None:
        for made in commit:
            self._records.append(made)
            self._positions.append(made.position)
            self._apply(made)
        self._length = len(self._records)

    def _apply(self, made: Record) -> None:
        stream = self._streams.setdefault(made.stream, Stream(made.stream))
        if made.revision == DELETED:
            stream.is_tombstoned = True
            return
        stream.records.append(made)
        stream.count += 1
        if made.stream.startswith("$$") and made.type == "$metadata":
            described = self._streams.setdefault(made.stream[2:], Stream(made.stream[2:]))
            described.has_metadata = True
            described.truncate_before = _truncate_before(made)

    def _due_system_events(self, appended: int) -> list[tuple[str, Proposed]]:
        self._since_system_event += appended
        if not self._system_event_every or self._since_system_event < self._system_event_every:
            return []
        self._since_system_event = 0
        return [(STATS_STREAM, _system_event("$statsCollected", {"proc-id": self._length}))]


def _system_event(event_type: str, content: dict[str, int]) -> Proposed:
    return Proposed(uuid4(), event_type, True, json.dumps(content).encode(), b"")


def _truncation(stream: str, before: int) -> tuple[str, Proposed]:
    """What the server writes beside a stream so that reading begins at `before`."""
    return f"$${stream}", _system_event("$metadata", {"$tb": before})


def _truncate_before(metadata: Record) -> int:
    """Where reading begins by that metadata; 0 when it says nothing of it or is no JSON."""
    body = streams_pb2.ReadResp.FromString(metadata.response).event.event.data
    try:
        content = json.loads(body)
    except ValueError:
        return 0
    before = content.get("$tb", 0) if isinstance(content, dict) else 0
    return before if isinstance(before, int) else 0
