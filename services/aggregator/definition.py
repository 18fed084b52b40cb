"""What a meter says, and when it is well formed."""

import re
from dataclasses import dataclass, replace

from services.aggregator.aggregations.aggregation import AggregationName
from services.kernel.errors import InvalidInput
from services.kernel.ids import require_identifier, require_property_key, require_slug

GROUP_BY_MAX = 8
SUBJECT_KEY = "subject"
UNIT_RULE = "at most 64 characters without control characters"

_UNIT = re.compile(r"[^\x00-\x1f\x7f-\x9f]{0,64}")


@dataclass(frozen=True, slots=True)
class Definition:
    """What a meter says. An empty `value_property` stands for the usage event's value."""

    slug: str
    display_name: str
    event_type: str
    aggregation: AggregationName
    value_property: str
    group_by: tuple[str, ...]
    unit: str


def require_definition(definition: Definition) -> Definition:
    """`definition` with its defaults, when every field is well formed; raises InvalidInput that names the field."""
    require_slug(definition.slug, "meter.slug")
    require_identifier(definition.event_type, "meter.event_type")
    named = replace(definition, display_name=definition.display_name or definition.slug)
    require_display_name(named.display_name, "meter.display_name")
    require_unit(named.unit, "meter.unit")
    _require_value_property(named)
    _require_group_by(named.group_by)
    return named


def require_display_name(name: str, field: str) -> str:
    """`name`, when people can read it; raises InvalidInput."""
    return require_identifier(name, field)


def require_unit(unit: str, field: str) -> str:
    """`unit`, when it is short enough (UNIT_RULE); raises InvalidInput."""
    if _UNIT.fullmatch(unit) is None:
        raise InvalidInput(f"{field} is {unit[:64]!r}; use {UNIT_RULE}", field=field, reason="BAD_UNIT")
    return unit


def _require_value_property(definition: Definition) -> None:
    if not definition.value_property:
        return
    field = "meter.value_property"
    require_property_key(definition.value_property, field)
    if definition.aggregation is AggregationName.COUNT:
        raise InvalidInput(
            "a count looks at no value; leave meter.value_property empty", field=field, reason="COUNT_WITH_VALUE"
        )


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
