"""What a meter says, and when it is well formed."""

import re
from dataclasses import dataclass, replace
from datetime import datetime

from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.conditions import Condition, require_conditions
from services.aggregator.meters.expression import parse_expression
from services.kernel.errors import InvalidInput
from services.kernel.ids import require_identifier, require_property_key, require_slug
from services.kernel.quantity import decimal_text, is_decimal_text, parse_decimal

GROUP_BY_MAX = 8
SUBJECT_KEY = "subject"
UNIT_RULE = "at most 64 characters without control characters"

_UNIT = re.compile(r"[^\x00-\x1f\x7f-\x9f]{0,64}")


@dataclass(frozen=True, slots=True)
class Definition:
    """What a meter says.

    The number of a usage event is that of `value_property` or `value_expression`; both empty: its value. A redefined
    meter counts usage from `effective_from` on, the start of a UTC hour; what it said `before` counts earlier usage.
    None and None: it counts usage of all times.
    """

    slug: str
    display_name: str
    event_type: str
    aggregation: AggregationName
    value_property: str
    group_by: tuple[str, ...]
    unit: str
    filters: tuple[Condition, ...] = ()
    value_expression: str = ""
    percentile: str = ""
    effective_from: datetime | None = None
    before: "Definition | None" = None

    @property
    def event_types(self) -> tuple[str, ...]:
        """The types of usage events that it counts, at one time or another, in order."""
        earlier = () if self.before is None else self.before.event_types
        return tuple(sorted({self.event_type, *earlier}))

    def alone(self) -> "Definition":
        """The same without its time: what it would say if it had always said so."""
        return replace(self, effective_from=None, before=None)


def require_definition(definition: Definition) -> Definition:
    """`definition` with its defaults, when every field is well formed; raises InvalidInput that names the field."""
    require_slug(definition.slug, "meter.slug")
    require_identifier(definition.event_type, "meter.event_type")
    named = replace(definition, display_name=definition.display_name or definition.slug)
    require_display_name(named.display_name, "meter.display_name")
    require_unit(named.unit, "meter.unit")
    _require_value(named)
    _require_group_by(named.group_by)
    require_conditions(named.filters, "meter.filters")
    return replace(named, percentile=_require_percentile(named))


def require_display_name(name: str, field: str) -> str:
    """`name`, when people can read it; raises InvalidInput."""
    return require_identifier(name, field)


def require_unit(unit: str, field: str) -> str:
    """`unit`, when it is short enough (UNIT_RULE); raises InvalidInput."""
    if _UNIT.fullmatch(unit) is None:
        raise InvalidInput(f"{field} is {unit[:64]!r}; use {UNIT_RULE}", field=field, reason="BAD_UNIT")
    return unit


def _require_value(definition: Definition) -> None:
    for field, text in (
        ("meter.value_property", definition.value_property),
        ("meter.value_expression", definition.value_expression),
    ):
        if text and definition.aggregation is AggregationName.COUNT:
            raise InvalidInput(
                f"a count looks at no value; leave {field} empty", field=field, reason="COUNT_WITH_VALUE"
            )
    if definition.value_property and definition.value_expression:
        raise InvalidInput(
            "meter.value_expression and meter.value_property both say the number; leave one of them empty",
            field="meter.value_expression",
            reason="TWO_VALUES",
        )
    if definition.value_property:
        require_property_key(definition.value_property, "meter.value_property")
    if definition.value_expression:
        parse_expression(definition.value_expression, "meter.value_expression")


def _require_percentile(definition: Definition) -> str:
    """The percentile by its one text; empty for other aggregations."""
    field, text = "meter.percentile", definition.percentile
    if definition.aggregation is not AggregationName.PERCENTILE:
        if text:
            raise InvalidInput(
                f"{field} is of the aggregation percentile; leave it empty", field=field, reason="PERCENTILE_NOT_ASKED"
            )
        return ""
    if not is_decimal_text(text) or not 0 < parse_decimal(text) <= 100:
        raise InvalidInput(
            f'{field} is "{text[:60]}"; write decimal text above 0 and at most 100, such as "95"',
            field=field,
            reason="BAD_PERCENTILE",
        )
    return decimal_text(parse_decimal(text))


def _require_group_by(keys: tuple[str, ...]) -> None:
    if len(keys) > GROUP_BY_MAX:
        raise InvalidInput(
            f"meter.group_by has {len(keys)} keys; use at most {GROUP_BY_MAX}",
            field="meter.group_by",
            reason="TOO_MANY_GROUP_KEYS",
        )
    for index, key in enumerate(keys):
        field = f"meter.group_by[{index}]"
        require_property_key(key, field)
        if key == SUBJECT_KEY:
            raise InvalidInput(
                f'{field} is "{SUBJECT_KEY}"; every meter can be grouped by it already, leave it out',
                field=field,
                reason="GROUP_KEY_RESERVED",
            )
        if key in keys[:index]:
            raise InvalidInput(f'{field} repeats "{key}"; leave it out', field=field, reason="GROUP_KEY_REPEATED")
