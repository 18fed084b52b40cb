"""Projections, rebuilds and decisions as messages of the API."""

from meterlog.common.v1 import projection_pb2 as api
from meterlog.events.v1.projection_pb2 import ProjectionEventSkipped
from services.eventstore.event import Position
from services.projection.pace import Pace
from services.projection.parked import ParkedEvent
from services.projection.projection import (
    Comparison,
    HeldRebuild,
    ProjectionStatus,
    RebuildProgress,
    TableDifference,
)


def status_message(status: ProjectionStatus, sets_events_aside: bool) -> api.Projection:
    """Where a projection stands."""
    return api.Projection(
        name=status.name,
        generation=status.generation,
        position=status.position,
        head_position=status.head_position,
        caught_up=status.is_caught_up,
        stop_reason=status.stop_reason,
        parked_events=status.parked,
        skipped_events=status.skipped,
        held_rebuilds=map(held_message, status.held),
        rebuild_runs=status.is_rebuilding,
        sets_events_aside=sets_events_aside,
        leader=status.leader,
    )


def held_message(held: HeldRebuild) -> api.HeldRebuild:
    """A rebuild that is held."""
    return api.HeldRebuild(position=held.position, events=held.events, generation=held.generation)


def progress_message(progress: RebuildProgress, pace: Pace) -> api.RebuildProjectionResponse:
    """How far a rebuild has come, and how fast."""
    return api.RebuildProjectionResponse(
        position=progress.position,
        head_position=progress.head_position,
        events=progress.events,
        events_per_second=pace.events_per_s,
        seconds_left=pace.seconds_left,
    )


def outcome_message(
    outcome: Comparison | HeldRebuild, last: RebuildProgress | None, pace: Pace
) -> api.RebuildProjectionResponse:
    """How a rebuild ended; the last message of a call."""
    message = api.RebuildProjectionResponse(
        position=outcome.position,
        head_position=last.head_position if last else Position(0),
        events=last.events if last else 0,
        events_per_second=pace.events_per_s,
    )
    match outcome:
        case Comparison():
            message.comparison.CopyFrom(_comparison_message(outcome))
        case HeldRebuild():
            message.held.CopyFrom(held_message(outcome))
    return message


def parked_message(parked: ParkedEvent) -> api.ParkedEvent:
    """An event that was set aside."""
    return api.ParkedEvent(
        position=parked.position,
        stream=str(parked.stream),
        version=parked.version,
        type=parked.type,
        schema_version=parked.schema_version,
        reason=parked.reason,
        known=parked.is_known,
    )


def skipped_message(skipped: ProjectionEventSkipped) -> api.SkippedEvent:
    """A decision to leave an event out."""
    return api.SkippedEvent(
        position=skipped.position,
        stream=skipped.event_stream,
        version=skipped.event_version,
        type=skipped.event_type,
        schema_version=skipped.event_schema_version,
        reason=skipped.reason,
        decided_by=skipped.skipped_by,
        key_name=skipped.key_name,
        decided_at=skipped.skipped_at,
    )


def _comparison_message(comparison: Comparison) -> api.RebuildComparison:
    return api.RebuildComparison(
        position=comparison.position,
        live_digest=comparison.live_digest,
        rebuilt_digest=comparison.rebuilt_digest,
        equal=comparison.is_equal,
        swapped=comparison.is_swapped,
        differences=map(_difference_message, comparison.differences),
    )


def _difference_message(difference: TableDifference) -> api.TableDifference:
    return api.TableDifference(
        table=difference.table,
        rows=difference.rows,
        live_rows=difference.live_rows,
        rebuilt_rows=difference.rebuilt_rows,
        example_keys=difference.example_keys,
    )
