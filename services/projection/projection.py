"""What a projection is: tables, and a fold that fills them from the log and from nothing else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from sqlalchemy import Connection, MetaData

from services.eventstore.event import Position, RecordedEvent

T = TypeVar("T")


class Projection(Protocol[T]):
    """A read model folded from the log into tables that can be dropped and rebuilt at any time.

    Columns hold integers, text, bytes or NULL; instants are epoch microseconds, decimals canonical text. Every table
    has a primary key. So equal logs give equal rows, and rows can be compared digest by digest.
    """

    name: str
    """Unique among all services, such as "usage_windows"."""
    version: int
    """Grows when the meaning of the fold changes; tables of another version are dropped and folded anew."""
    categories: frozenset[str]
    """Categories of the streams that it folds."""

    def tables(self, metadata: MetaData, suffix: str) -> T:
        """Declare the tables in `metadata`, every name ending with `suffix`."""

    def fold(self, connection: Connection, tables: T, events: Sequence[RecordedEvent]) -> None:
        """Fold `events`, in log order, inside the transaction that also moves the checkpoint.

        Batches of any size and cut give the same rows. It keeps nothing between calls, reads no clock, and neither
        appends nor sends: the transaction may roll back, and a rebuild folds another generation at the same time.
        """


@dataclass(frozen=True, slots=True)
class HeldRebuild:
    """A rebuild that was stopped before its end: folded up to `position`, ready to be gone on with."""

    position: Position
    events: int
    generation: int


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """Where a projection stands. `stop_reason` says why folding stopped, and is empty while it runs.

    `parked` counts the events that were set aside and wait for a decision, `skipped` those decided to be left out.
    `leader` is the process that folds, where that is another one than the one that was asked.
    """

    name: str
    generation: int
    position: Position
    head_position: Position
    is_caught_up: bool
    stop_reason: str
    parked: int = 0
    skipped: int = 0
    held: tuple[HeldRebuild, ...] = ()
    is_rebuilding: bool = False
    leader: str = ""


class RebuildMode(StrEnum):
    """What becomes of rebuilt tables: they take over when equal, or never, or in any case."""

    SWAP_WHEN_EQUAL = "swap_when_equal"
    COMPARE_ONLY = "compare_only"
    REPLACE = "replace"

    def swaps(self, *, is_equal: bool) -> bool:
        """Whether the rebuilt tables take over."""
        return self is RebuildMode.REPLACE or (is_equal and self is RebuildMode.SWAP_WHEN_EQUAL)


@dataclass(frozen=True, slots=True)
class RebuildProgress:
    """How far a rebuild has come. `events` counts those of a held rebuild, too, when it was gone on with."""

    position: Position
    head_position: Position
    events: int


@dataclass(frozen=True, slots=True)
class TableDifference:
    """How a table differs: the keys whose row is missing or another on either side, and the first of these keys."""

    table: str
    rows: int
    live_rows: int
    rebuilt_rows: int
    example_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A rebuilt projection against the live one, both folded up to `position`; digests are those of `TableSet`.

    `differences` names the tables that differ, unless the rebuilt ones took over.
    """

    position: Position
    live_digest: str
    rebuilt_digest: str
    is_swapped: bool
    differences: tuple[TableDifference, ...] = ()

    @property
    def is_equal(self) -> bool:
        return self.live_digest == self.rebuilt_digest


class Rebuildable(Protocol):
    """Anything folded from the log that an operator can rebuild and compare."""

    @property
    def name(self) -> str:
        """Unique among all services."""

    def status(self) -> ProjectionStatus:
        """Where it stands."""

    def rebuild(self, *, mode: RebuildMode, progress: Callable[[RebuildProgress], None]) -> Comparison:
        """Fold the log anew beside the live tables, compare, and swap as `mode` says.

        What `progress` raises ends the rebuild. Raises RuleViolated (REBUILD_RUNS) while another rebuild of it runs.
        """
