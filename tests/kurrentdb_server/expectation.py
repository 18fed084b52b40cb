"""Whether an append may happen: the expected version, and what counts as a repeat of an earlier append."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from tests.kurrentdb_server.recent_ids import RecentIds
from tests.kurrentdb_server.record import Record

NO_STREAM = -1
ANY = -2
STREAM_EXISTS = -4

# The version of a tombstoned stream, and the `$tb` of one that is deleted softly.
DELETED = 2**63 - 1


@dataclass(slots=True)
class Stream:
    """One stream: its events by revision, how many of them there are, and where reading begins."""

    name: str
    records: list[Record] = field(default_factory=list)
    count: int = 0
    truncate_before: int = 0
    is_tombstoned: bool = False
    has_metadata: bool = False

    @property
    def last(self) -> int:
        """The newest revision; -1 when there never was an event."""
        return self.count - 1

    def snapshot(self) -> "Stream":
        """The same stream as it is now; later appends only grow the list behind `count`."""
        return replace(self)

    @property
    def is_soft_deleted(self) -> bool:
        return self.truncate_before == DELETED

    @property
    def is_readable(self) -> bool:
        return self.count > 0 and not self.is_soft_deleted


@dataclass(frozen=True, slots=True)
class Accepted:
    """Nothing stands against the append."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """All of it stands there already, up to this revision."""

    last_revision: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The stream is not as expected; `is_deleted` when that is why."""

    current: int
    is_deleted: bool = False


Verdict = Accepted | Repeated | Refused


def verdict_on(stream: Stream, expected: int, ids: Sequence[UUID], recent: RecentIds) -> Verdict:
    """Follows CheckCommit of the server's IndexWriter, case by case and in its order."""
    if stream.is_tombstoned:
        return Refused(DELETED, is_deleted=True)
    if expected == STREAM_EXISTS and stream.is_soft_deleted:
        return Refused(stream.last, is_deleted=True)
    if expected == STREAM_EXISTS and stream.last < 0 and not stream.has_metadata:
        return Refused(stream.last)
    if expected in (ANY, STREAM_EXISTS):
        return _weak_verdict(stream, ids, recent)
    if expected < stream.last:
        return _strong_verdict(stream, expected, ids)
    return Accepted() if expected == stream.last else Refused(stream.last)


def _weak_verdict(stream: Stream, ids: Sequence[UUID], recent: RecentIds) -> Verdict:
    """Only what the cache still remembers counts as written."""
    found = [recent.revision(stream.name, event_id) for event_id in ids]
    if not ids or found[0] is None:
        return Accepted()
    if None in found:
        return Refused(stream.last)
    return Repeated(found[-1] or 0)


def _strong_verdict(stream: Stream, expected: int, ids: Sequence[UUID]) -> Verdict:
    """The ids behind `expected` are compared, however long ago they were written."""
    there = [written.event_id for written in stream.records[expected + 1 : expected + 1 + len(ids)]]
    if ids and there == list(ids):
        return Repeated(expected + len(ids))
    starts_alike = bool(ids) and there[0] == ids[0]
    if expected == NO_STREAM and stream.is_soft_deleted and not starts_alike:
        return Accepted()
    return Refused(stream.last)
