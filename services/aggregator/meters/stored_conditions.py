"""Conditions between stored events and the values of this room."""

from collections.abc import Iterable

from meterlog.events.v1 import meter_pb2 as events
from services.aggregator.meters.conditions import Condition, Operator


def condition_event(condition: Condition) -> events.UsageCondition:
    """A condition as events store it."""
    return events.UsageCondition(property=condition.property, operator=str(condition.operator), values=condition.values)


def conditions_of(stored: Iterable[events.UsageCondition]) -> tuple[Condition, ...]:
    """The conditions that an event holds."""
    return tuple(Condition(each.property, Operator(each.operator), tuple(each.values)) for each in stored)
