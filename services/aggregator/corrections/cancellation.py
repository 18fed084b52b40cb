"""Cancellations: from what was asked for to what it hits, what a preview says of it, and the event that decides it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from meterlog.aggregator.v1 import correction_pb2 as api
from meterlog.events.v1.correction_pb2 import RecordedUsage, UsageCancelled
from services.aggregator.corrections.acting import is_said_since
from services.aggregator.corrections.closed_hits import closed_period_count
from services.aggregator.corrections.correction import CorrectionContent
from services.aggregator.corrections.decision import Decision
from services.aggregator.corrections.hits import (
    Target,
    find_hits,
    target_of_filter,
    target_of_names,
    total_changes,
)
from services.aggregator.corrections.naming import UsageName, find_named
from services.aggregator.corrections.usage_filter import UsageFilter, filter_message
from services.aggregator.deadline import Deadline
from services.aggregator.meters.definition import Definition
from services.aggregator.meters.meter_rows import read_definitions, read_meter
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.usage.batch_rows import recorded_until
from services.eventstore.event import Position
from services.kernel.clock import from_epoch_us
from services.kernel.errors import InvalidInput, RuleViolated
from services.kernel.timestamp import to_timestamp

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Resolved:
    """Usage events by name, as they lie in the log; or else a filter, with what its meter says."""

    named: tuple[RecordedUsage, ...]
    filter: UsageFilter | None

    @property
    def target(self) -> Target:
        """What it is aimed at."""
        return target_of_names(self.named) if self.filter is None else target_of_filter(self.filter)


@dataclass(frozen=True, slots=True)
class Cancelling:
    """A cancellation that is about to be decided."""

    key: str
    resolved: Resolved
    content: CorrectionContent
    decision: Decision


def resolve(
    source: UsageSnapshot, names: Sequence[UsageName], chooser: UsageFilter | None, deadline: Deadline
) -> Resolved:
    """Find what is named, or what the filter's meter counts; raises NotFound, and InvalidInput for a contradiction."""
    if chooser is None:
        return Resolved(tuple(find_named(source, names, deadline)), None)
    if not chooser.meter:
        return Resolved((), chooser)
    meter = read_meter(source.connection, source.tables, chooser.meter).definition
    return Resolved((), _of_meter(chooser, meter))


def preview_of(source: UsageSnapshot, resolved: Resolved, deadline: Deadline) -> api.PreviewCancellationResponse:
    """What it would hit, and what it would do to totals, at the snapshot's position."""
    target, until = resolved.target, source.position
    hits = find_hits(source, target, until, deadline)
    meters = read_definitions(source.connection, source.tables)
    changes = total_changes(source, target, hits, meters, until, deadline)
    response = api.PreviewCancellationResponse(
        usage_event_count=hits.count,
        share_millionths=_share(hits.count, recorded_until(source.connection, source.tables, until)),
        subject_count=len(hits.subjects),
        totals=[
            api.TotalChange(meter=each.meter, subject=each.subject, old_value=each.old, new_value=each.new)
            for each in changes
        ],
        closed_period_count=closed_period_count(source, hits.touched),
        position=until,
    )
    if hits.count:
        response.first_at.CopyFrom(to_timestamp(from_epoch_us(hits.first_us)))
        response.last_at.CopyFrom(to_timestamp(from_epoch_us(hits.last_us)))
    return response


def cancellation_event(source: UsageSnapshot, cancelling: Cancelling, deadline: Deadline) -> UsageCancelled:
    """The event that decides it, once it hits what was expected: at `until_position`, and as the log says it now.

    Raises RuleViolated (EXPECTED_COUNT_DIFFERS), and InvalidInput for a name behind `until_position`.
    """
    resolved, content = cancelling.resolved, cancelling.content
    until = _until(source, content.until_position)
    _require_recorded(resolved.named, until)
    hits = find_hits(source, resolved.target, until, deadline)
    _require_expected(hits.count, content.expected_count)
    if until < source.position and is_said_since(source.connection, source.tables.corrections, until):
        left = find_hits(source, resolved.target.recorded_until(until), source.position, deadline)
        _require_expected(left.count, content.expected_count)
    event = UsageCancelled(
        key=cancelling.key,
        usage_events=resolved.named,
        filter=None if resolved.filter is None else filter_message(resolved.filter),
        until_position=until,
        usage_event_count=hits.count,
        decision=cancelling.decision.stored(),
    )
    if hits.count:
        event.first_at.CopyFrom(to_timestamp(from_epoch_us(hits.first_us)))
        event.last_at.CopyFrom(to_timestamp(from_epoch_us(hits.last_us)))
    return event


def _of_meter(chooser: UsageFilter, meter: Definition) -> UsageFilter:
    """The filter with the meter's type and, behind its own, the meter's conditions."""
    if chooser.types and meter.event_type not in chooser.types:
        raise InvalidInput(
            f'filter.types leaves out "{meter.event_type}", all that meter "{meter.slug}" counts; leave types empty',
            field="filter.types",
            reason="TYPES_WITHOUT_METER",
        )
    return replace(chooser, types=(meter.event_type,), conditions=(*chooser.conditions, *meter.filters))


def _until(source: UsageSnapshot, asked: int) -> Position:
    if asked > source.position:
        raise InvalidInput(
            f"until_position is {asked}, behind the log's end at {source.position}; send the position of the preview",
            field="until_position",
            reason="POSITION_BEHIND_THE_END",
        )
    return Position(asked or source.position)


def _require_recorded(named: Sequence[RecordedUsage], until: Position) -> None:
    for index, usage in enumerate(named):
        if usage.position > until:
            raise InvalidInput(
                f"until_position is {until}, before names[{index}] was recorded at {usage.position}; leave it out",
                field="until_position",
                reason="RECORDED_LATER",
            )


def _require_expected(count: int, expected: int) -> None:
    if expected and count != expected:
        raise RuleViolated(
            f"it would cancel {count} usage events, not {expected}; preview it again",
            reason="EXPECTED_COUNT_DIFFERS",
            metadata={"expected_count": str(expected), "usage_event_count": str(count)},
        )


def _share(count: int, of: int) -> int:
    """In millionths, rounded half up."""
    return (2 * count * MILLION + of) // (2 * of) if of else 0
