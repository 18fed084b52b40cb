"""Meters as values, and the calls that create, preview, redefine, update, archive and list them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from meterlog.aggregator.v1 import aggregator_pb2
from meterlog.client.condition import Condition, condition_messages, condition_of
from meterlog.client.counting import Counting, counting_of
from meterlog.client.errors import WrongValue
from meterlog.client.event import timestamp
from meterlog.client.instant import instant_of
from meterlog.client.question import Pages, Question, usage_question

METERS_PER_PAGE = 1_000

AGGREGATIONS = {
    name.removeprefix("AGGREGATION_").lower(): number for name, number in aggregator_pb2.Aggregation.items() if number
}
_NAMES = {number: name for name, number in AGGREGATIONS.items()}


@dataclass(frozen=True, slots=True)
class Meter:
    """What turns usage events of one type into quantities; `aggregation` is one of AGGREGATIONS.

    `filters` are conditions, typed such as "model=large". The last five are only answered: which version it is, from
    when on that version counts (None: always), when the meter was created and archived, and how far its count is (None:
    usage says already what it says).
    """

    slug: str
    event_type: str
    aggregation: str
    value_property: str = ""
    value_expression: str = ""
    percentile: str = ""
    group_by: Sequence[str] = ()
    filters: Sequence[Condition | str] = ()
    unit: str = ""
    display_name: str = ""
    version: int = 0
    effective_from: datetime | None = None
    created_at: datetime | None = None
    archived_at: datetime | None = None
    counting: Counting | None = None


@dataclass(frozen=True, slots=True)
class MeterChange:
    """The total of one customer now and as it would be; None where there is none."""

    subject: str
    current_value: Decimal | None
    new_value: Decimal | None


@dataclass(frozen=True, slots=True)
class MeterPreview:
    """What a meter would say; `changes` are at most 1,000 of `changed_subject_count`, the greatest first.

    Of `usage_event_count` usage events of the type `counted_count` would be counted; `unreadable_count` meet the
    filters and have no number.
    """

    changes: tuple[MeterChange, ...]
    changed_subject_count: int
    usage_event_count: int
    counted_count: int
    unreadable_count: int
    group_count: int
    position: int


def create_meter(meter: Meter) -> Question[Meter]:
    """Create it over all usage of the log; raises WrongType or WrongValue."""
    request = aggregator_pb2.CreateMeterRequest(meter=_message(meter))
    return usage_question("CreateMeter", request, aggregator_pb2.CreateMeterResponse, _answered)


def preview_meter(
    meter: Meter, start_at: datetime, end_at: datetime, subjects: Sequence[str], effective_from: datetime | None
) -> Question[MeterPreview]:
    """What it, new or redefined, would say of [start_at, end_at); raises WrongType or WrongValue."""
    request = aggregator_pb2.PreviewMeterRequest(
        meter=_message(meter),
        effective_from=None if effective_from is None else timestamp(effective_from, "effective_from"),
        start_at=timestamp(start_at, "start_at"),
        end_at=timestamp(end_at, "end_at"),
        subjects=subjects,
    )
    return usage_question("PreviewMeter", request, aggregator_pb2.PreviewMeterResponse, _preview)


def redefine_meter(meter: Meter, expected_version: int, effective_from: datetime | None) -> Question[Meter]:
    """Let it count so from a time on, or always; raises WrongType or WrongValue."""
    request = aggregator_pb2.RedefineMeterRequest(
        slug=meter.slug,
        meter=_message(meter),
        effective_from=None if effective_from is None else timestamp(effective_from, "effective_from"),
        expected_version=expected_version,
    )
    return usage_question("RedefineMeter", request, aggregator_pb2.RedefineMeterResponse, _answered)


def update_meter(slug: str, display_name: str | None, unit: str | None) -> Question[Meter]:
    """Change what people read about it; None keeps what is there."""
    request = aggregator_pb2.UpdateMeterRequest(slug=slug, display_name=display_name, unit=unit)
    return usage_question("UpdateMeter", request, aggregator_pb2.UpdateMeterResponse, _answered)


def archive_meter(slug: str) -> Question[Meter]:
    """Keep it out of new plans."""
    request = aggregator_pb2.ArchiveMeterRequest(slug=slug)
    return usage_question("ArchiveMeter", request, aggregator_pb2.ArchiveMeterResponse, _answered)


def one_meter(slug: str) -> Question[Meter]:
    """The meter of that slug."""
    request = aggregator_pb2.GetMeterRequest(slug=slug)
    return usage_question("GetMeter", request, aggregator_pb2.GetMeterResponse, _answered)


def every_meter(include_archived: bool) -> Pages[Meter]:
    """All meters, by slug."""
    request = aggregator_pb2.ListMetersRequest(page_size=METERS_PER_PAGE, include_archived=include_archived)
    response = aggregator_pb2.ListMetersResponse
    return Pages(usage_question("ListMeters", request, response, lambda answer: tuple(map(_meter, answer.meters))))


def versions_of_meter(slug: str) -> Question[tuple[Meter, ...]]:
    """What it said over time, oldest first."""
    request = aggregator_pb2.ListMeterVersionsRequest(slug=slug)
    response = aggregator_pb2.ListMeterVersionsResponse
    return usage_question("ListMeterVersions", request, response, lambda answer: tuple(map(_meter, answer.versions)))


def _message(meter: Meter) -> aggregator_pb2.Meter:
    if meter.aggregation not in AGGREGATIONS:
        raise WrongValue(f'aggregation is "{meter.aggregation}"; use one of {", ".join(AGGREGATIONS)}')
    return aggregator_pb2.Meter(
        slug=meter.slug,
        event_type=meter.event_type,
        aggregation=AGGREGATIONS[meter.aggregation],
        value_property=meter.value_property,
        value_expression=meter.value_expression,
        percentile=meter.percentile,
        group_by=meter.group_by,
        filters=condition_messages(meter.filters),
        unit=meter.unit,
        display_name=meter.display_name,
    )


def _answered(answer: aggregator_pb2.CreateMeterResponse) -> Meter:
    return _meter(answer.meter)


def _meter(message: aggregator_pb2.Meter) -> Meter:
    return Meter(
        slug=message.slug,
        event_type=message.event_type,
        aggregation=_NAMES.get(message.aggregation, ""),
        value_property=message.value_property,
        value_expression=message.value_expression,
        percentile=message.percentile,
        group_by=tuple(message.group_by),
        filters=tuple(map(condition_of, message.filters)),
        unit=message.unit,
        display_name=message.display_name,
        version=message.version,
        effective_from=instant_of(message.effective_from) if message.HasField("effective_from") else None,
        created_at=instant_of(message.created_at) if message.HasField("created_at") else None,
        archived_at=instant_of(message.archived_at) if message.HasField("archived_at") else None,
        counting=counting_of(message),
    )


def _preview(answer: aggregator_pb2.PreviewMeterResponse) -> MeterPreview:
    changes = (
        MeterChange(
            each.subject,
            Decimal(each.current_value) if each.HasField("current_value") else None,
            Decimal(each.new_value) if each.HasField("new_value") else None,
        )
        for each in answer.changes
    )
    return MeterPreview(
        changes=tuple(changes),
        changed_subject_count=answer.changed_subject_count,
        usage_event_count=answer.usage_event_count,
        counted_count=answer.counted_count,
        unreadable_count=answer.unreadable_count,
        group_count=answer.group_count,
        position=answer.position,
    )
