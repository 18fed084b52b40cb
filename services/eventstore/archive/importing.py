"""Take an archive over into a log: verified line by line, resumed by repeating it, refused where the log differs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from services.eventstore.archive.exporting import Progress
from services.eventstore.archive.lines import End, Header
from services.eventstore.archive.origin import checked_events, commit_over, edge_of
from services.eventstore.archive.reading import ArchiveDamaged, Part, Piece, read_archive
from services.eventstore.audit.auditable import AuditableStore
from services.eventstore.audit.chain import CHAIN_START, Commit, merkle_root, next_chain
from services.eventstore.event import BEGINNING, Head, Position, RecordedEvent
from services.eventstore.restoration import LOG_DIFFERS, WholeCommit, differs
from services.eventstore.restoring import RestorableStore
from services.eventstore.store import EventStore
from services.kernel.errors import Conflict, RuleViolated

BATCH_EVENTS_MAX: Final = 5_000
BATCH_BYTES_MAX: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Imported:
    """What was taken over: the archive's end, and the head of the log before and after."""

    header: Header
    end: End
    before: Head
    after: Head


def import_archive(store: EventStore, lines: Iterable[bytes], progress: Progress = lambda _position: None) -> Imported:
    """Write the archive's events behind those that the log has of it already; nobody else may write meanwhile.

    The signature of a seal is not looked at: it comes last, so whoever wants it checks the archive before.

    Raises ArchiveDamaged at the first line that is wrong; the whole commits before it have been written, and a repeat
    with an undamaged archive goes on from there. Raises Conflict (LOG_DIFFERS) when the log holds something else, or
    lacks what lies before the archive, and RuleViolated when it takes no restored events.
    """
    if not isinstance(store, RestorableStore):
        raise RuleViolated("this log cannot take over another one; open it for writing", reason="NOT_RESTORABLE")
    parts = read_archive(lines)
    before = store.head()
    header = next(parts)
    assert isinstance(header, Header), "an archive begins with its header"
    arrival = _arrival(store, header, before)
    batch = _Batch(store)
    try:
        end = _taken_over(parts, arrival, batch, progress)
    except ArchiveDamaged:
        batch.flush()
        raise
    batch.flush()
    return Imported(header, end, before, store.head())


def _taken_over(parts: Iterator[Part], arrival: "_ByCommits | _ByLeaves", batch: "_Batch", progress: Progress) -> End:
    for part in parts:
        if isinstance(part, Piece):
            batch.add(arrival.missing(part))
            progress(part.events[-1].position)
        elif isinstance(part, End):
            return part
    raise AssertionError("a reading without an error comes to the end")


class _Batch:
    """Commits that are restored together."""

    def __init__(self, store: RestorableStore) -> None:
        self._store = store
        self._events: list[RecordedEvent] = []
        self._commits: list[Commit] = []
        self._bytes = 0

    def add(self, whole: WholeCommit | None) -> None:
        """Take a commit; None is nothing to do."""
        if whole is None:
            return
        self._events += whole.events
        self._commits.append(whole.commit)
        self._bytes += sum(len(event.payload) for event in whole.events)
        if len(self._events) >= BATCH_EVENTS_MAX or self._bytes >= BATCH_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Restore what has gathered."""
        if self._events:
            self._store.restore(self._events, self._commits)
        self._events, self._commits, self._bytes = [], [], 0


def _arrival(store: EventStore, header: Header, head: Head) -> "_ByCommits | _ByLeaves":
    if header.has_commits and isinstance(store, AuditableStore):
        _require_chain(store, header, head)
        return _ByCommits()
    return _ByLeaves(store, header, head)


class _ByCommits:
    """From a log with commits into one with commits: the store itself compares what stands there, commit by commit."""

    @staticmethod
    def missing(piece: Piece) -> WholeCommit | None:
        assert piece.commit is not None, "a log with commits has one for every event"
        return WholeCommit(piece.commit, piece.events)


class _ByLeaves:
    """Where one side has no commits: what stands in the log is compared leaf by leaf, in the order of the log.

    An archive without commits gets them here: one a piece, positions counting from 1.
    """

    def __init__(self, store: EventStore, header: Header, head: Head) -> None:
        self._standing = checked_events(store, BEGINNING, head.position)
        self._has_commits = isinstance(store, AuditableStore)
        self._chain = head.chain or CHAIN_START
        _require_edge(self._standing, header)

    def missing(self, piece: Piece) -> WholeCommit | None:
        standing = self._count_standing(piece)
        if standing == len(piece.events):
            return None
        if piece.commit is not None:
            return WholeCommit(piece.commit, piece.events)
        from_index = standing if self._has_commits else 0
        first = piece.first_ordinal + from_index + 1
        events = [
            replace(event, position=Position(position))
            for position, event in enumerate(piece.events[from_index:], first)
        ]
        return WholeCommit(self._next_commit(events), tuple(events))

    def _count_standing(self, piece: Piece) -> int:
        for count, event in enumerate(piece.events):
            standing = next(self._standing, None)
            if standing is None:
                return count
            if standing.leaf != event.leaf:
                raise differs(standing.position)
        return len(piece.events)

    def _next_commit(self, events: list[RecordedEvent]) -> Commit:
        root = merkle_root([event.leaf for event in events])
        last = events[-1].position
        self._chain = next_chain(self._chain, root, last)
        return Commit(events[0].position, last, root, self._chain)


def _require_chain(store: AuditableStore, header: Header, head: Head) -> None:
    """What lies before the archive must stand in the log, by its chain."""
    if header.after == BEGINNING:
        return
    if head.position < header.after:
        raise _incomplete(header, f"position {head.position}")
    commit = commit_over(store, header.after)
    if commit.last_position != header.after or commit.chain != header.chain:
        raise differs(header.after)


def _require_edge(standing: Iterator[RecordedEvent], header: Header) -> None:
    """What lies before the archive must stand in the log, by its leaves; it is taken from `standing`."""
    edge = edge_of(standing, header.first_ordinal)
    if edge.size < header.first_ordinal:
        raise _incomplete(header, f"its event {edge.size}")
    if edge.hashes != header.left:
        raise differs(header.after)


def _incomplete(header: Header, end: str) -> Conflict:
    return Conflict(
        f"the archive goes on behind event {header.first_ordinal} of its log, and this log ends at {end}; import the "
        "archive of what lies before first",
        reason=LOG_DIFFERS,
    )
