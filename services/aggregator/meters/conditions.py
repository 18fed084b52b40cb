"""Conditions on usage events: what meters, corrections and queries choose by."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.states.decimal_column import NUMBER, parse_decimals
from services.eventstore.usage_batch import property_column
from services.kernel.errors import InvalidInput
from services.kernel.ids import require_property_key
from services.kernel.quantity import is_decimal_text

CONDITIONS_MAX = 20
VALUES_MAX = 100
VALUE_CHARACTERS_MAX = 1_024
VALUE_ATTRIBUTE, SOURCE_ATTRIBUTE = "$value", "$source"


class Operator(StrEnum):
    """How a condition compares, by the name that stored events carry."""

    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    IN = "in"
    NOT_IN = "not_in"
    PREFIX = "prefix"
    EXISTS = "exists"
    NOT_EXISTS = "not_exists"
    LESS = "less"
    LESS_OR_EQUAL = "less_or_equal"
    GREATER = "greater"
    GREATER_OR_EQUAL = "greater_or_equal"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on one property, or on VALUE_ATTRIBUTE or SOURCE_ATTRIBUTE.

    A usage event without the property meets only NOT_EQUALS, NOT_IN and NOT_EXISTS; one whose text is no plain decimal
    meets no numeric comparison. Texts are compared as they are; the value is compared as a number.
    """

    property: str
    operator: Operator
    values: tuple[str, ...] = ()


def require_conditions(conditions: Sequence[Condition], field: str) -> tuple[Condition, ...]:
    """`conditions`, when every one is well formed; raises InvalidInput that names the field."""
    if len(conditions) > CONDITIONS_MAX:
        raise InvalidInput(
            f"{field} has {len(conditions)} conditions; use at most {CONDITIONS_MAX}",
            field=field,
            reason="TOO_MANY_CONDITIONS",
        )
    for index, condition in enumerate(conditions):
        _require_condition(condition, f"{field}[{index}]")
    return tuple(conditions)


def condition_columns(conditions: Iterable[Condition]) -> set[str]:
    """The columns of a usage table that these conditions look at."""
    return {_column(condition.property) for condition in conditions}


def meets_all(usage: pa.Table, conditions: Iterable[Condition]) -> pa.Array:
    """Whether each usage event meets every condition; never null."""
    met = pa.repeat(True, usage.num_rows)
    for condition in conditions:
        met = pc.and_(met, meets(usage[_column(condition.property)].combine_chunks(), condition))
    return met


def meets(column: pa.Array, condition: Condition) -> pa.Array:
    """Whether each entry of a column (dictionary-coded text, or decimals) meets the condition; never null."""
    if condition.operator is Operator.EXISTS:
        return pc.is_valid(column)
    if condition.operator is Operator.NOT_EXISTS:
        return pc.is_null(column)
    if not pa.types.is_dictionary(column.type):
        return pc.fill_null(_compared(column.cast(NUMBER), condition, _numbers(condition)), _is_negative(condition))
    return pc.fill_null(_of_texts(column, condition), _is_negative(condition))


def _of_texts(column: pa.DictionaryArray, condition: Condition) -> pa.Array:
    if condition.operator in _NUMERIC:
        return _compared(parse_decimals(column), condition, _numbers(condition))
    if condition.operator is Operator.PREFIX:
        met = pc.starts_with(column.dictionary, condition.values[0])
    else:
        met = _compared(column.dictionary, condition, pa.array(condition.values, pa.utf8()))
    return met.take(column.indices)


def _compared(column: pa.Array, condition: Condition, values: pa.Array) -> pa.Array:
    if condition.operator in _NUMERIC:
        return _NUMERIC[condition.operator](column, values[0])
    is_one = pc.is_in(column, values)
    is_one = pc.if_else(pc.is_valid(column), is_one, None)
    return pc.invert(is_one) if _is_negative(condition) else is_one


def _numbers(condition: Condition) -> pa.Array:
    return pa.array([Decimal(text) for text in condition.values], NUMBER)


def _is_negative(condition: Condition) -> bool:
    return condition.operator in (Operator.NOT_EQUALS, Operator.NOT_IN)


def _column(name: str) -> str:
    return {VALUE_ATTRIBUTE: "value", SOURCE_ATTRIBUTE: "source"}.get(name) or property_column(name)


_NUMERIC: dict[Operator, Callable[[pa.Array, pa.Scalar], pa.Array]] = {
    Operator.LESS: pc.less,
    Operator.LESS_OR_EQUAL: pc.less_equal,
    Operator.GREATER: pc.greater,
    Operator.GREATER_OR_EQUAL: pc.greater_equal,
}
_VALUES_NEEDED = {
    Operator.EXISTS: range(1),
    Operator.NOT_EXISTS: range(1),
    Operator.IN: range(1, VALUES_MAX + 1),
    Operator.NOT_IN: range(1, VALUES_MAX + 1),
}


def _require_condition(condition: Condition, field: str) -> None:
    if condition.property not in (VALUE_ATTRIBUTE, SOURCE_ATTRIBUTE):
        require_property_key(condition.property, f"{field}.property")
    needed = _VALUES_NEEDED.get(condition.operator, range(1, 2))
    if len(condition.values) not in needed:
        raise InvalidInput(
            f"{field} has {len(condition.values)} values; "
            f"{condition.operator} takes {needed.start} to {needed.stop - 1}",
            field=f"{field}.values",
            reason="BAD_VALUE_COUNT",
        )
    is_number = condition.operator in _NUMERIC or condition.property == VALUE_ATTRIBUTE
    if condition.property == VALUE_ATTRIBUTE and condition.operator is Operator.PREFIX:
        raise InvalidInput(f"{field}: a value has no prefix; compare it as a number", field=f"{field}.operator")
    for index, text in enumerate(condition.values):
        if len(text) > VALUE_CHARACTERS_MAX or (is_number and not is_decimal_text(text)):
            raise InvalidInput(
                f'{field}.values[{index}] is "{text[:60]}"; give '
                + ("plain decimal text" if is_number else f"at most {VALUE_CHARACTERS_MAX} characters"),
                field=f"{field}.values[{index}]",
                reason="BAD_CONDITION_VALUE",
            )
