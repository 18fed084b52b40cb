"""Verify a log: recompute everything from the stored bytes, and find the first position that is wrong.

A log with a chain of its own is checked against its roots and its chain. That finds what was changed in place, but not
a log that was cut off at its end together with its newest commits, nor one that was written anew as a whole: both are
found by comparing it with what was sealed outside the database.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from services.eventstore.audit.auditable import AuditableStore, StoreOnDatabase
from services.eventstore.audit.category_reads import CategoryTallies, require_category_reads
from services.eventstore.audit.chain_check import (
    ChainProof,
    check_commits,
    check_nothing_uncovered,
    newest_position,
    proof_before,
)
from services.eventstore.audit.comparison import Broken
from services.eventstore.audit.note import VerifierKey
from services.eventstore.audit.sealed_check import checked_folder
from services.eventstore.audit.sealed_folder import SealedFolder
from services.eventstore.audit.sealed_log import SealedLog, require_kept
from services.eventstore.audit.walk import Walk
from services.eventstore.event import BEGINNING, Position
from services.eventstore.store import EventStore
from services.kernel.errors import Corrupt, InvalidInput, RuleViolated

Log = AuditableStore | EventStore


FIRST: Final = Position(BEGINNING + 1)


@dataclass(frozen=True, slots=True)
class Span:
    """Positions of a log, both ends included; without a `last` one, up to the head."""

    first: Position = FIRST
    last: Position | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self.first <= FIRST and self.last is None


WHOLE = Span()


@dataclass(frozen=True, slots=True)
class Seal:
    """Where a log was sealed, and whose signatures count."""

    folder: Path
    keys: tuple[VerifierKey, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """How far the log is proved: `events` of the span from its first on, with the chain's value `head` behind them, in
    hex (empty when the log has no chain). `sealed` of them were compared with what was signed.

    Unless it is `verified`, everything before `first_bad_position` holds but for its commit, and `problem` says what
    is wrong there; it is None when the database's storage is damaged at no known position. Where the sealed folder is
    wrong, `first_bad_file` names the file in it instead.
    """

    verified: bool
    events: int
    head: str
    first_bad_position: Position | None = None
    problem: str = ""
    first_bad_file: str = ""
    sealed: int = 0


def verify(store: Log, span: Span = WHOLE, seal: Seal | None = None) -> Verification:
    """Check the span up to the head of this moment, while others go on writing.

    A chain is checked over all commits that the span touches; behind the first position it is taken as it stands. When
    the whole log has a chain, it is also read by category, and its database is asked for damage of its storage.
    Raises NotFound when nothing was sealed in the folder, RuleViolated for a log without chain and without seal,
    InvalidInput for a span that begins behind the end of a log that nothing was cut off from.
    """
    if seal is None:
        return _verify_log(store, span, None)
    try:
        if span.is_whole:
            checked_folder(SealedFolder(seal.folder), seal.keys)
        sealed = SealedLog.opened(store, seal.folder, seal.keys)
    except Corrupt as error:
        return _seal_damaged(_verify_log(store, span, None) if isinstance(store, AuditableStore) else None, error)
    return _verify_log(store, span, sealed)


def _verify_log(store: Log, span: Span, sealed: SealedLog | None) -> Verification:
    progress = _Progress()
    try:
        if isinstance(store, AuditableStore):
            _check_chained(store, span, sealed, progress)
        else:
            _check_chainless(store, span, sealed, progress)
    except Broken as broken:
        return progress.verification(False, broken.position, broken.problem)
    except Corrupt as error:
        if "file" in error.metadata:
            return replace(progress.verification(False, None, error.message), first_bad_file=error.metadata["file"])
        return progress.verification(False, progress.next_position, error.message)
    damage = _storage_damage(store) if span.is_whole else ""
    return progress.verification(not damage, None, damage)


class _Progress:
    """How far a verification went, whatever ends it."""

    def __init__(self) -> None:
        self.proof: ChainProof | None = None
        self.walk: Walk | None = None

    @property
    def next_position(self) -> Position | None:
        reached = self.proof or self.walk
        return Position(reached.position + 1) if reached else None

    def verification(self, verified: bool, position: Position | None = None, problem: str = "") -> Verification:
        events = self.proof.events if self.proof else self.walk.events if self.walk else 0
        head = self.proof.chain.hex() if self.proof else ""
        return Verification(verified, events, head, position, problem, sealed=self.walk.sealed if self.walk else 0)


def _check_chained(store: AuditableStore, span: Span, sealed: SealedLog | None, progress: _Progress) -> None:
    end = newest_position(store)
    _require_begun(store, span, sealed, end)
    proof = progress.proof = proof_before(store, span.first)
    run = sealed.run_from(proof.position, span.last) if sealed else None
    tallies = CategoryTallies() if span.is_whole else None
    walk = progress.walk = Walk(store, proof.position, run, tallies.add if tallies else None)
    check_commits(store, proof, walk, None if span.last is None or span.last > end else span.last)
    if sealed and run:
        sealed.require_root(run, walk.position)
    if tallies:
        require_category_reads(store, tallies, walk.position)


def _check_chainless(store: EventStore, span: Span, sealed: SealedLog | None, progress: _Progress) -> None:
    if sealed is None:
        raise RuleViolated(
            "this log has no chain of its own; seal it with `meterlog audit seal`, and verify it with --sealed",
            reason="NO_AUDIT_CHAIN",
        )
    _require_begun(store, span, sealed, store.head().position)
    after = sealed.end_before(span.first)
    run = sealed.run_from(after, span.last)
    walk = progress.walk = Walk(store, after, run)
    kept = sealed.kept_from(run.next_index)
    while (event := walk.next_event()) is not None and (span.last is None or event.position <= span.last):
        is_sealed = not run.is_whole
        walk.check(event)
        if is_sealed:
            require_kept(event.position, kept)
    sealed.require_root(run, walk.position)


def _require_begun(store: Log, span: Span, sealed: SealedLog | None, end: Position) -> None:
    """The span begins in the log, which ends at `end`; raises Broken when the log went on once, else InvalidInput."""
    if span.first <= max(end, FIRST):
        return
    if isinstance(store, AuditableStore):
        check_nothing_uncovered(store)
    if sealed and sealed.end() > end:
        raise Broken(end + 1, f"the log ends here, though it was sealed up to {sealed.end()}: it was cut short")
    raise InvalidInput(
        f"the log ends at position {end}; nothing stands at {span.first} yet", field="from", reason="BEHIND_END"
    )


def _storage_damage(store: Log) -> str:
    """What the database says of its own storage: it may be damaged where no reader of the log came by."""
    if not isinstance(store, StoreOnDatabase):
        return ""
    damage = store.storage_damage()
    return f"the database's storage is damaged: {damage}; restore the log, or rebuild its indexes" if damage else ""


def _seal_damaged(log: Verification | None, error: Corrupt) -> Verification:
    """What is wrong with the log itself comes first."""
    if log is not None and not log.verified:
        return log
    found = log or Verification(False, 0, "")
    return replace(found, verified=False, problem=error.message, first_bad_file=error.metadata.get("file", ""))
