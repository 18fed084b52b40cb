"""Conditions on usage events: as values, and as people type them.

    region           the property is there          !region          it is not
    model=large      it is this text                model!=large     it is another, or not there
    model=a,b        it is one of these             model!=a,b       it is none of these, or not there
    path^=/api       it begins with this text
    bytes>=100       it is a number, and such; also >, < and <=

Of texts with a comma, each comma that is meant is written as "\\,". "$value" and "$source" stand for these attributes.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from meterlog.aggregator.v1 import aggregator_pb2
from meterlog.client.errors import WrongValue

_SIGNS = {
    "=": aggregator_pb2.CONDITION_OPERATOR_EQUALS,
    "!=": aggregator_pb2.CONDITION_OPERATOR_NOT_EQUALS,
    "^=": aggregator_pb2.CONDITION_OPERATOR_PREFIX,
    "<": aggregator_pb2.CONDITION_OPERATOR_LESS,
    "<=": aggregator_pb2.CONDITION_OPERATOR_LESS_OR_EQUAL,
    ">": aggregator_pb2.CONDITION_OPERATOR_GREATER,
    ">=": aggregator_pb2.CONDITION_OPERATOR_GREATER_OR_EQUAL,
}
_LISTS = {
    "=": aggregator_pb2.CONDITION_OPERATOR_IN,
    "!=": aggregator_pb2.CONDITION_OPERATOR_NOT_IN,
}
_PREFIX = "CONDITION_OPERATOR_"
OPERATORS = {
    name.removeprefix(_PREFIX).lower(): number for name, number in aggregator_pb2.ConditionOperator.items() if number
}
"""The operators by name: equals, not_equals, in, not_in, prefix, exists, not_exists, less, less_or_equal, …"""

_KEY = r"(?P<property>\$?[A-Za-z_][A-Za-z0-9_.-]*)"
_PRESENCE = re.compile(rf"(?P<absent>!?){_KEY}")
_COMPARISON = re.compile(rf"{_KEY}(?P<sign>!=|\^=|<=|>=|=|<|>)(?P<value>.*)", re.DOTALL)
_COMMA = re.compile(r"(?<!\\),")


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on a property; `operator` is one of OPERATORS, `values` what it is compared with."""

    property: str
    operator: str
    values: tuple[str, ...] = ()


def parse_condition(text: str) -> Condition:
    """The condition that a person typed; raises WrongValue."""
    if presence := _PRESENCE.fullmatch(text):
        return Condition(presence["property"], "not_exists" if presence["absent"] else "exists")
    comparison = _COMPARISON.fullmatch(text)
    if comparison is None:
        raise WrongValue(f'"{text[:60]}" is no condition; write one such as model=large, bytes>=100, region or !region')
    return _compared(comparison["property"], comparison["sign"], comparison["value"])


def condition_text(condition: Condition) -> str:
    """The condition as a person would type it."""
    name = condition.operator
    if name in ("exists", "not_exists"):
        return ("!" if name == "not_exists" else "") + condition.property
    number = OPERATORS[name]
    sign = next(sign for signs in (_SIGNS, _LISTS) for sign, each in signs.items() if each == number)
    return condition.property + sign + ",".join(value.replace(",", "\\,") for value in condition.values)


def condition_messages(conditions: Iterable["Condition | str"]) -> list[aggregator_pb2.UsageCondition]:
    """The messages of conditions, typed or not; raises WrongValue."""
    parsed = [parse_condition(each) if isinstance(each, str) else each for each in conditions]
    return [
        aggregator_pb2.UsageCondition(property=each.property, operator=_operator(each), values=each.values)
        for each in parsed
    ]


def condition_of(message: aggregator_pb2.UsageCondition) -> Condition:
    """The condition of a message."""
    name = aggregator_pb2.ConditionOperator.Name(message.operator).removeprefix(_PREFIX).lower()
    return Condition(message.property, name, tuple(message.values))


def _compared(name: str, sign: str, written: str) -> Condition:
    parts = tuple(part.replace("\\,", ",") for part in _COMMA.split(written))
    is_list = len(parts) > 1 and sign in _LISTS
    number = _LISTS[sign] if is_list else _SIGNS[sign]
    operator = next(known for known, each in OPERATORS.items() if each == number)
    return Condition(name, operator, parts if is_list else (written.replace("\\,", ","),))


def _operator(condition: Condition) -> aggregator_pb2.ConditionOperator.ValueType:
    if condition.operator not in OPERATORS:
        raise WrongValue(f'operator is "{condition.operator}"; use one of {", ".join(OPERATORS)}')
    return OPERATORS[condition.operator]
