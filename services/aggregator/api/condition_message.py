"""Conditions between the API's messages and the values of this room; stored_conditions.py has those of events."""

from collections.abc import Sequence

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.meters.conditions import Condition, Operator, require_conditions
from services.kernel.errors import InvalidInput

_PREFIX = "CONDITION_OPERATOR_"
_OPERATORS = {api.ConditionOperator.Value(_PREFIX + operator.name): operator for operator in Operator}
_OPERATOR_VALUES = {operator: value for value, operator in _OPERATORS.items()}


def parse_conditions(messages: Sequence[api.UsageCondition], field: str) -> tuple[Condition, ...]:
    """The conditions of a request, well formed; raises InvalidInput that names the field."""
    conditions = [_parse(message, f"{field}[{index}]") for index, message in enumerate(messages)]
    return require_conditions(conditions, field)


def condition_message(condition: Condition) -> api.UsageCondition:
    """A condition as the API shows it."""
    return api.UsageCondition(
        property=condition.property, operator=_OPERATOR_VALUES[condition.operator], values=condition.values
    )


def _parse(message: api.UsageCondition, field: str) -> Condition:
    if message.operator not in _OPERATORS:
        raise InvalidInput(
            f"{field}.operator is missing or unknown; choose one of the enum ConditionOperator",
            field=f"{field}.operator",
            reason="UNKNOWN_OPERATOR",
        )
    return Condition(message.property, _OPERATORS[message.operator], tuple(message.values))
