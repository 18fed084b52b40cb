"""Meters between the API's messages and the values of this room."""

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.definition import Definition, require_definition
from services.aggregator.meter import Meter
from services.kernel.errors import InvalidInput
from services.kernel.timestamp import to_timestamp

_AGGREGATIONS = {
    api.AGGREGATION_COUNT: AggregationName.COUNT,
    api.AGGREGATION_SUM: AggregationName.SUM,
    api.AGGREGATION_MIN: AggregationName.MIN,
    api.AGGREGATION_MAX: AggregationName.MAX,
    api.AGGREGATION_AVG: AggregationName.AVG,
    api.AGGREGATION_FIRST: AggregationName.FIRST,
    api.AGGREGATION_LAST: AggregationName.LAST,
    api.AGGREGATION_UNIQUE_COUNT: AggregationName.UNIQUE_COUNT,
}
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
        )
    )


def meter_message(meter: Meter) -> api.Meter:
    """A meter as the API shows it."""
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
    )
