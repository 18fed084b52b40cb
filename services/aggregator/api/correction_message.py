"""Corrections between the API's messages and the values of this room."""

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.aggregator.v1 import aggregator_pb2
from meterlog.aggregator.v1 import correction_pb2 as api
from meterlog.events.v1 import correction_pb2 as stored
from services.aggregator.api.condition_message import condition_message, parse_conditions
from services.aggregator.api.counting import counting_message
from services.aggregator.api.instants import parse_instant
from services.aggregator.corrections.correction_rows import CorrectionRow
from services.aggregator.corrections.naming import UsageName, require_names
from services.aggregator.corrections.usage_filter import UsageFilter
from services.aggregator.meters.stored_conditions import conditions_of
from services.aggregator.waiting.counting_progress import Counting
from services.eventstore.event import Position
from services.kernel.clock import epoch_us
from services.kernel.errors import InvalidInput
from services.kernel.ids import require_identifier, require_slug

TYPES_MAX = 100
SUBJECTS_MAX = 1_000
SOURCES_MAX = 1_000


def parse_choice(
    request: api.PreviewCancellationRequest | api.CancelUsageRequest,
) -> tuple[tuple[UsageName, ...], UsageFilter | None]:
    """The names or the filter, exactly one of them; raises InvalidInput."""
    has_filter = request.HasField("filter")
    if bool(request.names) == has_filter:
        raise InvalidInput(
            "give either names or a filter, and not both",
            field="filter" if has_filter else "names",
            reason="ONE_CHOICE",
        )
    names = require_names([UsageName(name.source, name.id, name.position) for name in request.names], "names")
    return names, parse_filter(request.filter) if has_filter else None


def parse_filter(message: api.UsageFilter) -> UsageFilter:
    """The filter, when it says anything, and nothing impossible; raises InvalidInput that names the field."""
    chooser = UsageFilter(
        meter=require_slug(message.meter, "filter.meter") if message.meter else "",
        types=require_texts(message.types, "filter.types", TYPES_MAX),
        subjects=require_texts(message.subjects, "filter.subjects", SUBJECTS_MAX),
        sources=require_texts(message.sources, "filter.sources", SOURCES_MAX),
        start_us=_instant_us(message, "start_at"),
        end_us=_instant_us(message, "end_at"),
        recorded_from_us=_instant_us(message, "recorded_from"),
        recorded_until_us=_instant_us(message, "recorded_until"),
        conditions=parse_conditions(message.conditions, "filter.conditions"),
    )
    if chooser == UsageFilter():
        raise InvalidInput(
            "the filter says nothing, and so would choose all usage ever; say at least one thing",
            field="filter",
            reason="FILTER_EMPTY",
        )
    require_order(chooser.start_us, chooser.end_us, "filter.end_at", "filter.start_at")
    require_order(chooser.recorded_from_us, chooser.recorded_until_us, "filter.recorded_until", "filter.recorded_from")
    return chooser


def correction_message(row: CorrectionRow, counting: Counting | None = None) -> api.Correction:
    """A correction as the API shows it, with how far its count is when usage does not say yet what was decided."""
    event = row.event
    message = api.Correction(
        key=event.key,
        decision=decision_message(event.decision, row.position),
        reverted=None if row.reverted is None else decision_message(row.reverted.decision, row.reverted_position),
        counting=counting_message(counting),
    )
    if isinstance(event, stored.UsageCancelled):
        message.is_cancellation = True
        message.names.extend(map(_name_message, event.usage_events))
        message.usage_event_count, message.until_position = event.usage_event_count, event.until_position
        if event.HasField("filter"):
            message.filter.CopyFrom(filter_message(event.filter))
        return message
    message.names.append(_name_message(event.usage_event))
    message.usage_event_count, message.until_position = 1, row.position
    if event.value:
        message.value = event.value
    if event.HasField("properties"):
        message.properties.properties.update(event.properties.properties)
        message.properties.SetInParent()
    return message


def decision_message(decision: stored.Decision, position: Position | None) -> api.CorrectionDecision:
    """A decision as the API shows it."""
    return api.CorrectionDecision(
        reason=decision.reason,
        decided_by=decision.decided_by,
        key_name=decision.key_name,
        decided_at=decision.decided_at,
        position=position or 0,
    )


def filter_message(message: stored.UsageFilter) -> api.UsageFilter:
    """A stored filter as the API shows it: with what its meter said when it was decided."""
    return api.UsageFilter(
        meter=message.meter,
        types=message.types,
        subjects=message.subjects,
        sources=message.sources,
        start_at=_sent(message, "start_at"),
        end_at=_sent(message, "end_at"),
        recorded_from=_sent(message, "recorded_from"),
        recorded_until=_sent(message, "recorded_until"),
        conditions=_conditions(message),
    )


def _conditions(message: stored.UsageFilter) -> list[aggregator_pb2.UsageCondition]:
    return [condition_message(each) for each in conditions_of(message.conditions)]


def _name_message(usage: stored.RecordedUsage) -> api.UsageName:
    return api.UsageName(source=usage.source, id=usage.id, position=usage.position)


def _sent(message: stored.UsageFilter, field: str) -> Timestamp | None:
    return getattr(message, field) if message.HasField(field) else None  # type: ignore[arg-type]  # one of its four instants


def require_texts(texts: Iterable[str], field: str, at_most: int) -> tuple[str, ...]:
    """Identifiers, not too many, none twice; raises InvalidInput that names the field."""
    found = tuple(texts)
    if len(found) > at_most:
        raise InvalidInput(
            f"{field} has {len(found)} entries; send at most {at_most}, or split the filter",
            field=field,
            reason="TOO_MANY_ENTRIES",
        )
    for index, text in enumerate(found):
        require_identifier(text, f"{field}[{index}]")
    if len(set(found)) < len(found):
        raise InvalidInput(f"{field} says something twice; leave it out", field=field, reason="ENTRY_REPEATED")
    return found


def _instant_us(message: api.UsageFilter, field: str) -> int | None:
    if not message.HasField(field):  # type: ignore[arg-type]  # one of its four instants
        return None
    return epoch_us(parse_instant(getattr(message, field), f"filter.{field}"))


def require_order(start_us: int | None, end_us: int | None, field: str, other: str) -> None:
    """Raises InvalidInput that names `field` when a range with both ends is empty or reversed."""
    if start_us is not None and end_us is not None and start_us >= end_us:
        raise InvalidInput(f"{field} must be after {other}", field=field, reason="RANGE_REVERSED")
