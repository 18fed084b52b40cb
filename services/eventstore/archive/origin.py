"""What a log gives to its archive: its events in groups, each checked against leaf, root and chain first."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

from services.eventstore.audit.auditable import AuditableStore
from services.eventstore.audit.chain import Commit, merkle_root, next_chain, recorded_leaf
from services.eventstore.audit.tree import TREE_SIZE_MAX, Frontier
from services.eventstore.event import BEGINNING, Page, Position, RecordedEvent
from services.kernel.errors import Corrupt

PAGE_EVENTS_MAX: Final = 1_000
COMMITS_MAX: Final = 1_000
GROUP_EVENTS_MAX: Final = 1_000
GROUP_BYTES_MAX: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Group:
    """Events that follow each other in the log, at least one: those of a commit, where the log has commits."""

    events: tuple[RecordedEvent, ...]
    commit: Commit | None


class Readable(Protocol):
    """A store whose log can be read from end to end."""

    def read_all(self, *, after: Position, limit: int) -> Page:
        """As in `EventStore`."""


def committed_groups(
    store: AuditableStore, after: Position, until: Position, size_max: int, chain: bytes
) -> Iterator[Group]:
    """The commits behind `after`, where the audit chain is `chain`, to the one that holds `until`, as whole ones.

    One that goes past the log's first `size_max` events is left out. Raises Corrupt for what was not recorded so.
    """
    last = _last_of_commit(store, until)
    events = checked_events(store, after, last)
    while after < last:
        commits = store.read_commits(after=after, limit=COMMITS_MAX)
        if not commits:
            raise Corrupt(f"position {after + 1}: no commit covers it; verify the log")
        for commit in commits:
            if after >= last or commit.last_position > size_max:
                return
            if commit.first_position != after + 1 or commit.last_position <= after:
                raise Corrupt(f"position {after + 1}: the next commit does not start here; verify the log")
            group = Group(tuple(islice(events, commit.last_position - after)), commit)
            _require_unchanged(group, commit, chain)
            yield group
            after, chain = commit.last_position, commit.chain


def plain_groups(store: Readable, after: Position, until: Position, events_max: int) -> Iterator[Group]:
    """The events behind `after` up to `until`, at most `events_max`, for a log that has no commits."""
    gathered: list[RecordedEvent] = []
    size = 0
    for event in islice(checked_events(store, after, until), max(0, events_max)):
        gathered.append(event)
        size += len(event.payload)
        if len(gathered) >= GROUP_EVENTS_MAX or size >= GROUP_BYTES_MAX:
            yield Group(tuple(gathered), None)
            gathered, size = [], 0
    if gathered:
        yield Group(tuple(gathered), None)


def edge_of(events: Iterator[RecordedEvent], count: int = TREE_SIZE_MAX) -> Frontier:
    """The edge of the tree over the next events, `count` at most, which are taken from the iterator."""
    edge = Frontier()
    while leaves := [event.leaf for event in islice(events, min(PAGE_EVENTS_MAX, count - edge.size))]:
        edge = edge.extended(leaves)
    return edge


def edge_before(store: Readable, until: Position) -> tuple[Position, Frontier]:
    """Where the last event up to `until` stands (BEGINNING: there is none), and the edge of the tree behind it.

    A log with gaps is read on only from where an event stands, so `until` itself may be no place to begin.
    """
    last = BEGINNING

    def noted() -> Iterator[RecordedEvent]:
        nonlocal last
        for event in checked_events(store, BEGINNING, until):
            last = event.position
            yield event

    edge = edge_of(noted())
    return last, edge


def checked_events(store: Readable, after: Position, until: Position) -> Iterator[RecordedEvent]:
    """The events behind `after` up to `until`; raises Corrupt for one that does not give its leaf."""
    while after < until:
        page = store.read_all(after=after, limit=PAGE_EVENTS_MAX)
        for event in page.events:
            if event.position > until:
                return
            _require_leaf(event)
            yield event
        if page.is_last:
            return
        after = page.position


def commit_over(store: AuditableStore, position: Position) -> Commit:
    """The commit that covers a position; raises Corrupt when none does."""
    for commit in store.read_commits(after=Position(position - 1), limit=1):
        if commit.first_position <= position:
            return commit
    raise Corrupt(f"position {position}: no commit covers it; verify the log")


def _last_of_commit(store: AuditableStore, position: Position) -> Position:
    return commit_over(store, position).last_position if position > BEGINNING else BEGINNING


def _require_leaf(event: RecordedEvent) -> None:
    try:
        is_unchanged = recorded_leaf(event) == event.leaf
    except struct.error:
        is_unchanged = False
    if not is_unchanged:
        raise Corrupt(f"position {event.position}: the event does not give its leaf; verify the log")


def _require_unchanged(group: Group, commit: Commit, chain: bytes) -> None:
    first, last = commit.first_position, commit.last_position
    if [event.position for event in group.events] != list(range(first, first + len(group.events))):
        raise Corrupt(f"position {first}: an event of the commit of {first} to {last} is missing; verify the log")
    if not group.events or group.events[-1].position != last:
        raise Corrupt(f"position {last}: the last event of the commit of {first} to {last} is missing; verify the log")
    if merkle_root([event.leaf for event in group.events]) != commit.root:
        raise Corrupt(f"position {first}: the root of the commit is not that of its events; verify the log")
    if next_chain(chain, commit.root, last) != commit.chain:
        raise Corrupt(f"position {first}: the chain does not continue at this commit; verify the log")
