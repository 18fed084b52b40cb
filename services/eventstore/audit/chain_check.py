"""Checks the commits of a log: that they cover all positions, that each root is that of its leaves, and the chain."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from services.eventstore.audit.auditable import AuditableStore
from services.eventstore.audit.chain import CHAIN_START, Commit, merkle_root, next_chain
from services.eventstore.audit.comparison import Broken
from services.eventstore.audit.walk import Walk
from services.eventstore.event import BEGINNING, VERSION_MAX, Position
from services.kernel.errors import Corrupt

COMMITS_PAGE_MAX: Final = 1_000


@dataclass(slots=True)
class ChainProof:
    """What is proved so far: up to which position, the chain there, and how many events since the proof began."""

    position: Position = BEGINNING
    chain: bytes = CHAIN_START
    events: int = 0

    @property
    def next_position(self) -> Position:
        """The position that is to be proved next."""
        return Position(self.position + 1)


def proof_before(store: AuditableStore, first: Position) -> ChainProof:
    """Where a proof begins that must reach `first`: in front of its commit, with the chain that stands there.

    Raises Broken when no commit covers `first`, or when the commit before it is missing.
    """
    if first <= BEGINNING + 1:
        return ChainProof()
    commit = next(_commits_behind(store, Position(first - 1)), None)
    if commit is None or not BEGINNING < commit.first_position <= first:
        raise Broken(first, "no commit covers this position")
    if commit.first_position == BEGINNING + 1:
        return ChainProof()
    end = Position(commit.first_position - 1)
    before = next(_commits_behind(store, Position(end - 1)), None)
    if before is None or before.last_position != end:
        overlaps = before is not None and before.last_position < first
        raise Broken(
            before.last_position + 1 if before and overlaps else end,
            f"the commit that covers {first} begins at {commit.first_position}, where the one before does not end",
        )
    return ChainProof(end, before.chain)


def newest_position(store: AuditableStore) -> Position:
    """Up to where commits cover the log. When the newest cannot be read, the end is open: reading them finds it."""
    try:
        return store.head().position
    except Corrupt:
        return Position(VERSION_MAX)


def check_commits(store: AuditableStore, proof: ChainProof, walk: Walk, last: Position | None) -> None:
    """Prove the commits behind `proof`, up to the one that covers `last`, or all up to the head of this moment.

    Raises Broken at the first position that does not hold; `proof` says how far it went.
    """
    end = newest_position(store) if last is None else last
    for commit in _commits_behind(store, proof.position):
        if proof.position >= end:
            break
        _check_commit(commit, proof, walk)
    if proof.position < end:
        raise Broken(proof.next_position, "no commit covers this position")
    if last is None:
        check_nothing_uncovered(store)


def _check_commit(commit: Commit, proof: ChainProof, walk: Walk) -> None:
    first = proof.next_position
    if commit.first_position != first or commit.last_position < first:
        covered = f"{commit.first_position} to {commit.last_position}"
        raise Broken(first, f"the next commit covers positions {covered}, instead of starting here")
    leaves = [_leaf_at(position, walk) for position in range(first, commit.last_position + 1)]
    root = merkle_root(leaves)
    if root != commit.root:
        raise Broken(first, f"the root of the commit of {first} to {commit.last_position} is not that of its leaves")
    chain = next_chain(proof.chain, root, commit.last_position)
    if chain != commit.chain:
        raise Broken(first, f"the chain at the commit of {first} to {commit.last_position} does not continue")
    proof.position, proof.chain = commit.last_position, chain
    proof.events += len(leaves)


def _leaf_at(position: int, walk: Walk) -> bytes:
    """The leaf of the event that must stand at `position`, when it stands there unchanged."""
    event = walk.next_event()
    if event is None or event.position != position:
        raise Broken(position, "the event of this position is missing")
    return walk.check(event)


def check_nothing_uncovered(store: AuditableStore) -> None:
    """Events come with their commit, so one outside of all commits was slipped in; raises Broken.

    Read in this order: others write.
    """
    stored = store.stored_positions()
    if stored is None:
        return
    lowest, highest = stored
    if lowest <= BEGINNING:
        raise Broken(lowest, "no event stands in front of the first")
    covered = newest_position(store)
    if highest > covered:
        raise Broken(covered + 1, f"no commit covers this position, though events stand up to {highest}")


def _commits_behind(store: AuditableStore, after: Position) -> Iterator[Commit]:
    while commits := _readable_commits(store, after, COMMITS_PAGE_MAX):
        yield from commits
        after = commits[-1].last_position


def _readable_commits(store: AuditableStore, after: Position, limit: int) -> tuple[Commit, ...]:
    """The next commits; fewer when one of them cannot be read, until that one is the next."""
    try:
        return store.read_commits(after=after, limit=limit)
    except Corrupt as error:
        if limit == 1:
            raise Broken(after + 1, error.message) from error
    return _readable_commits(store, after, limit // 2)
