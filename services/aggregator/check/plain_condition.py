"""Conditions on one usage event, decided anew."""

from collections.abc import Callable, Sequence
from fractions import Fraction

from meterlog.events.v1.meter_pb2 import UsageCondition
from services.aggregator.check.plain_expression import NoNumber, plain_number
from services.aggregator.check.plain_usage import UNIT, PlainUsage

_COMPARISONS: dict[str, Callable[[Fraction, Fraction], bool]] = {
    "less": lambda number, bound: number < bound,
    "less_or_equal": lambda number, bound: number <= bound,
    "greater": lambda number, bound: number > bound,
    "greater_or_equal": lambda number, bound: number >= bound,
}
_NEGATIVE = ("not_equals", "not_in")


def meets_all(usage: PlainUsage, conditions: Sequence[UsageCondition]) -> bool:
    """Whether the usage event meets every condition."""
    return all(_meets(usage, condition) for condition in conditions)


def _meets(usage: PlainUsage, condition: UsageCondition) -> bool:
    operator = condition.operator
    if condition.property == "$value":
        return operator == "exists" or _meets_as_number(Fraction(usage.value, UNIT), condition)
    text = usage.source if condition.property == "$source" else usage.properties.get(condition.property)
    if operator in ("exists", "not_exists"):
        return (text is not None) == (operator == "exists")
    if text is None:
        return operator in _NEGATIVE
    if operator in _COMPARISONS:
        try:
            return _COMPARISONS[operator](plain_number(text), Fraction(condition.values[0]))
        except NoNumber:
            return False
    if operator == "prefix":
        return text.startswith(condition.values[0])
    return (text in condition.values) != (operator in _NEGATIVE)


def _meets_as_number(value: Fraction, condition: UsageCondition) -> bool:
    bounds = [Fraction(text) for text in condition.values]
    if condition.operator in _COMPARISONS:
        return _COMPARISONS[condition.operator](value, bounds[0])
    return condition.operator != "not_exists" and (value in bounds) != (condition.operator in _NEGATIVE)
