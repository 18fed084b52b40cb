"""Meters between the API's messages and the values of this room."""

from datetime import datetime

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.api.condition_message import condition_message, parse_conditions
from services.aggregator.api.counting import counting_message
from services.aggregator.api.instants import parse_instant
from services.aggregator.meters.definition import Definition, require_definition
from services.aggregator.meters.meter import Meter
from services.aggregator.waiting.counting_progress import Counting
from services.kernel.errors import InvalidInput
from services.kernel.timestamp import to_timestamp

_AGGREGATIONS = {api.Aggregation.Value(f"AGGREGATION_{name.name}"): name for name in AggregationName}
_AGGREGATION_VALUES = {name: value for value, name in _AGGREGATIONS.items()}


def parse_definition(message: api.Meter) -> Definition:
    """What a meter of the API says; raises InvalidInput that names the field."""
    if message.aggregation not in _AGGREGATIONS:
        raise InvalidInput(
            "meter.aggregation is missing or unknown; choose one of the enum Aggregation",
            field="meter.aggregation",
            reason="UNKNOWN_AGGREGATION",
        )
    return require_definition(
        Definition(
            slug=message.slug,
            display_name=message.display_name,
            event_type=message.event_type,
            aggregation=_AGGREGATIONS[message.aggregation],
            value_property=message.value_property,
            group_by=tuple(message.group_by),
            unit=message.unit,
            filters=parse_conditions(message.filters, "meter.filters"),
            value_expression=message.value_expression,
            percentile=message.percentile,
        )
    )


def parse_effective_from(request: api.RedefineMeterRequest | api.PreviewMeterRequest) -> datetime | None:
    """The first event time of a version, None for all times; raises InvalidInput."""
    return parse_instant(request.effective_from, "effective_from") if request.HasField("effective_from") else None


def meter_message(meter: Meter, counting: Counting | None = None) -> api.Meter:
    """A meter as the API shows it, with how far its count is when usage does not say yet what it says."""
    definition = meter.definition
    return api.Meter(
        slug=definition.slug,
        display_name=definition.display_name,
        event_type=definition.event_type,
        aggregation=_AGGREGATION_VALUES[definition.aggregation],
        value_property=definition.value_property,
        group_by=definition.group_by,
        unit=definition.unit,
        created_at=to_timestamp(meter.created_at),
        archived_at=None if meter.archived_at is None else to_timestamp(meter.archived_at),
        filters=map(condition_message, definition.filters),
        value_expression=definition.value_expression,
        percentile=definition.percentile,
        version=meter.version,
        effective_from=None if definition.effective_from is None else to_timestamp(definition.effective_from),
        counting=counting_message(counting),
    )
