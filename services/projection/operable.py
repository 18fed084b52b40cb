"""What a projection in tables offers to operators beyond a rebuild: events set aside, decisions, rebuilds in parts."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from meterlog.events.v1.projection_pb2 import ProjectionEventSkipped
from services.eventstore.event import BEGINNING, Position
from services.projection.parked import ParkedEvent
from services.projection.projection import (
    Comparison,
    HeldRebuild,
    ProjectionStatus,
    RebuildMode,
    RebuildProgress,
)
from services.projection.skipping import Decision


@runtime_checkable
class Operable(Protocol):
    """A Rebuildable whose rebuilds can be held and gone on with, and which sets events aside."""

    @property
    def name(self) -> str:
        """Unique among all services."""

    def status(self) -> ProjectionStatus:
        """Where it stands."""

    def rebuild(
        self,
        *,
        mode: RebuildMode,
        progress: Callable[[RebuildProgress], None],
        start: Position = BEGINNING,
        examples: int = 0,
    ) -> Comparison:
        """As in `Rebuildable`, or on from the rebuild that is held at `start`; up to `examples` keys a table.

        It is held when it ends before its end. Raises RuleViolated: NO_REBUILD_HELD, REBUILDS_HELD, LOG_REWOUND; and
        CannotFold.
        """

    def rebuild_until(
        self, *, until: Position, progress: Callable[[RebuildProgress], None], start: Position = BEGINNING
    ) -> HeldRebuild:
        """Fold up to `until`, and hold the rebuild there; raises as `rebuild` does, and InvalidInput."""

    def discard(self, position: Position | None) -> tuple[HeldRebuild, ...]:
        """Drop the rebuild held at `position`, or all; returns those that are gone."""

    def parked(self, after: Position, limit: int) -> tuple[ParkedEvent, ...]:
        """Up to `limit` events that were set aside and wait for a decision, behind a position, in log order."""

    def stopping_event(self) -> ParkedEvent | None:
        """The event that folding stops at."""

    def skip(self, position: Position, decision: Decision) -> ProjectionEventSkipped:
        """Leave the event at `position` out for ever; returns the decision that holds.

        Raises NotFound for an event that is neither parked nor stops the fold, and RuleViolated (REBUILD_RUNS).
        """

    def skipped(self) -> tuple[ProjectionEventSkipped, ...]:
        """Every decision to leave an event out, oldest first."""
