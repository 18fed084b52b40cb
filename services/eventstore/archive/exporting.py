"""Write a log, or a run of it, as an archive: up to the head of the moment it begins, while others go on writing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from services.eventstore.archive.lines import LINK_START, ArchivedEvent, End, Header, Line, Seal, spelled
from services.eventstore.archive.origin import (
    Group,
    checked_events,
    commit_over,
    committed_groups,
    edge_before,
    edge_of,
    plain_groups,
)
from services.eventstore.archive.sealing import checked_seal
from services.eventstore.audit.auditable import AuditableStore
from services.eventstore.audit.chain import CHAIN_START
from services.eventstore.audit.tree import TREE_SIZE_MAX, Frontier
from services.eventstore.event import BEGINNING, Position
from services.eventstore.store import EventStore
from services.kernel.errors import InvalidInput, RuleViolated

Write = Callable[[bytes], object]
"""Takes the next bytes of the archive."""

SealAt = Callable[[Frontier], Seal]
"""The seal for an archive whose events end at this edge of the log's tree."""

Progress = Callable[[Position], object]
"""Is told now and then up to which position the work is done."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which events: behind `after`, up to `until` (default: the head), and of the log's first `size_max` at most.

    Where a log has commits the span is widened to whole ones at both ends, but never past `size_max`.
    """

    after: Position = BEGINNING
    until: Position | None = None
    size_max: int = TREE_SIZE_MAX


@dataclass(frozen=True, slots=True)
class Exported:
    """What an archive says of itself, in its first line and in its last."""

    header: Header
    end: End


def write_archive(
    store: EventStore,
    span: Span,
    write: Write,
    *,
    seal_at: SealAt | None = None,
    progress: Progress = lambda _position: None,
) -> Exported:
    """Write the events of a span, each leaf, root and chain value recomputed first.

    Raises Corrupt, naming the position, when the log is not what was recorded, InvalidInput for a span that it does
    not have, and RuleViolated when all of it lies behind `size_max`. What was written until then is no
    archive: it has no end.
    """
    until = _require_part(store, span)
    header, groups = _begun(store, span, until)
    writing = _Writing(header, write)
    for group in groups:
        writing.add(group)
        progress(group.events[-1].position)
    return writing.ended(seal_at)


def _require_part(store: EventStore, span: Span) -> Position:
    """The position up to which the archive goes; raises InvalidInput for a span that the log does not have."""
    head = store.head().position
    until = head if span.until is None else span.until
    if not BEGINNING <= span.after <= until <= head:
        raise InvalidInput(
            f"the log ends at position {head}; it has nothing behind {span.after} up to {until}", field="until"
        )
    return until


def _begun(store: EventStore, span: Span, until: Position) -> tuple[Header, Iterator[Group]]:
    if not isinstance(store, AuditableStore):
        after, edge = edge_before(store, span.after)
        _require_within(edge, span)
        header = Header(has_commits=False, after=after, first_ordinal=edge.size, left=edge.hashes, chain=b"")
        return header, plain_groups(store, after, until, span.size_max - edge.size)
    after, chain = _whole_commits_behind(store, span.after)
    edge = edge_of(checked_events(store, BEGINNING, after))
    _require_within(edge, span)
    header = Header(has_commits=True, after=after, first_ordinal=edge.size, left=edge.hashes, chain=chain)
    return header, committed_groups(store, after, until, span.size_max, chain)


def _require_within(edge: Frontier, span: Span) -> None:
    """Something of the log's first `size_max` events lies behind the edge; raises RuleViolated."""
    if edge.size >= span.size_max:
        raise RuleViolated(
            f"nothing behind position {span.after} is sealed yet: the newest checkpoint covers the first "
            f"{span.size_max} events; run `meterlog audit seal`, then repeat",
            reason="NOT_SEALED_YET",
        )


def _whole_commits_behind(store: AuditableStore, after: Position) -> tuple[Position, bytes]:
    """The end of the last commit that lies up to `after` with all its events, and the chain there."""
    while after > BEGINNING:
        commit = commit_over(store, after)
        if commit.last_position == after:
            return after, commit.chain
        after = Position(commit.first_position - 1)
    return BEGINNING, CHAIN_START


class _Writing:
    """An archive in the making: its lines so far, and the edge of the log's tree behind them."""

    def __init__(self, header: Header, write: Write) -> None:
        self._write = write
        self._link = LINK_START
        self._header = header
        self._edge = Frontier(header.first_ordinal, header.left)
        self._position, self._chain = header.after, header.chain
        self._commits = 0
        self._first_leaf = b""
        write(self._spelled(header))

    def add(self, group: Group) -> None:
        """The events of a group, then its commit when it has one."""
        size = self._edge.size
        if size == 0:
            self._first_leaf = group.events[0].leaf
        lines = [self._spelled(ArchivedEvent(ordinal, event)) for ordinal, event in enumerate(group.events, size)]
        self._edge = self._edge.extended([event.leaf for event in group.events])
        self._position = group.events[-1].position
        if group.commit is not None:
            lines.append(self._spelled(group.commit))
            self._commits += 1
            self._chain = group.commit.chain
        self._write(b"".join(lines))

    def ended(self, seal_at: SealAt | None) -> Exported:
        """The seal, when there is to be one, and the end."""
        if seal_at is not None:
            seal = seal_at(self._edge)
            checked_seal(seal, self._edge, self._first_leaf, ())
            self._write(self._spelled(seal))
        size = self._edge.size
        events = size - self._header.first_ordinal
        end = End(events, self._commits, self._position, self._chain, size, self._edge.root())
        self._write(self._spelled(end))
        return Exported(self._header, end)

    def _spelled(self, line: Line) -> bytes:
        content, self._link = spelled(line, self._link)
        return content
