"""Verify a log: recompute every leaf, root and chain value from the stored bytes, and find the first that is wrong.

A log that was cut off at its end together with its newest commits verifies: only a checkpoint kept outside the
database tells. Compare `head` with it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from services.eventstore.audit.auditable import AuditableStore
from services.eventstore.audit.chain import CHAIN_START, Commit, merkle_root, next_chain, recorded_leaf
from services.eventstore.event import BEGINNING, Position, RecordedEvent, StreamName
from services.kernel.errors import Corrupt

VERIFY_PAGE_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Verification:
    """How far the log is proved: `events` from the first on, with the chain's value `head` behind them, in hex.

    Unless it is `verified`, everything before `first_bad_position` holds but for its commit, and `problem` says what
    is wrong there.
    """

    verified: bool
    events: int
    head: str
    first_bad_position: Position | None = None
    problem: str = ""


def verify(store: AuditableStore) -> Verification:
    """Check all commits up to the head of this moment, while others go on writing."""
    proof = _Proof()
    try:
        _check_log(store, proof)
    except _Broken as broken:
        return Verification(False, proof.events, proof.chain.hex(), broken.position, broken.problem)
    except Corrupt as error:
        return Verification(False, proof.events, proof.chain.hex(), proof.next_position, error.message)
    return Verification(True, proof.events, proof.chain.hex())


@dataclass(slots=True)
class _Proof:
    """What is proved so far: the number of events, the chain behind them, and each stream's next version."""

    events: int = 0
    chain: bytes = CHAIN_START
    next_versions: dict[StreamName, int] = field(default_factory=dict)

    @property
    def next_position(self) -> Position:
        return Position(self.events + 1)


class _Broken(Exception):
    def __init__(self, position: int, problem: str) -> None:
        super().__init__(problem)
        self.position = Position(position)
        self.problem = problem


def _check_log(store: AuditableStore, proof: _Proof) -> None:
    end = store.head().position
    events = _events(store)
    for commit in _commits(store, end):
        _check_commit(commit, events, proof)
    if proof.events < end:
        raise _Broken(proof.next_position, "no commit covers this position")
    _check_nothing_uncovered(store)


def _check_commit(commit: Commit, events: Iterator[RecordedEvent], proof: _Proof) -> None:
    first = proof.next_position
    if commit.first_position != first or commit.last_position < first:
        covered = f"{commit.first_position} to {commit.last_position}"
        raise _Broken(first, f"the next commit covers positions {covered}, instead of starting here")
    positions = range(first, commit.last_position + 1)
    root = merkle_root([_checked_leaf(position, next(events, None), proof) for position in positions])
    if root != commit.root:
        raise _Broken(first, f"the root of the commit of {first} to {commit.last_position} is not that of its leaves")
    chain = next_chain(proof.chain, root, commit.last_position)
    if chain != commit.chain:
        raise _Broken(first, f"the chain at the commit of {first} to {commit.last_position} does not continue")
    proof.events, proof.chain = int(commit.last_position), chain


def _checked_leaf(position: int, event: RecordedEvent | None, proof: _Proof) -> bytes:
    """The leaf of the event that must stand at `position`, when it stands there unchanged and in its stream's order."""
    if event is None or event.position != position:
        raise _Broken(position, "the event of this position is missing")
    leaf = _recomputed_leaf(event)
    if leaf != event.leaf:
        raise _Broken(position, "the event does not give its leaf: its payload, its header or the leaf was changed")
    next_version = proof.next_versions.get(event.stream, 0)
    if event.version != next_version:
        raise _Broken(position, f"stream {event.stream} goes on with version {event.version}, not {next_version}")
    proof.next_versions[event.stream] = next_version + 1
    return leaf


def _recomputed_leaf(event: RecordedEvent) -> bytes:
    try:
        return recorded_leaf(event)
    except struct.error as error:
        raise _Broken(event.position, f"the event's header was changed: {error}") from error


def _check_nothing_uncovered(store: AuditableStore) -> None:
    """Events come with their commit, so one outside of all commits was slipped in. Read in this order: others write."""
    stored = store.stored_positions()
    if stored is None:
        return
    lowest, highest = stored
    if lowest <= BEGINNING:
        raise _Broken(lowest, "no event stands in front of the first")
    covered = store.head().position
    if highest > covered:
        raise _Broken(covered + 1, f"no commit covers this position, though events stand up to {highest}")


def _commits(store: AuditableStore, end: Position) -> Iterator[Commit]:
    after = BEGINNING
    while commits := store.read_commits(after=after, limit=VERIFY_PAGE_MAX):
        yield from (commit for commit in commits if commit.last_position <= end)
        after = commits[-1].last_position
        if after >= end:
            return


def _events(store: AuditableStore) -> Iterator[RecordedEvent]:
    after = BEGINNING
    while events := _readable_events(store, after, VERIFY_PAGE_MAX):
        yield from events
        after = events[-1].position


def _readable_events(store: AuditableStore, after: Position, limit: int) -> tuple[RecordedEvent, ...]:
    """The next events; fewer when one of them cannot be read, until that one is the next."""
    try:
        return store.read_all(after=after, limit=limit).events
    except Corrupt as error:
        if limit == 1:
            raise _Broken(after + 1, error.message) from error
    return _readable_events(store, after, limit // 2)
