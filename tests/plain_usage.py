"""Usage by plain Python over lists, in integers of 10^-12 units: shares no code with the aggregator."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from math import ceil

from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.definition import Definition

UNIT = 10**12


@dataclass(frozen=True)
class Event:
    """A usage event as a producer sends it."""

    type: str
    subject: str
    at: datetime
    value: Decimal
    properties: dict[str, str]


def is_number(text: str) -> bool:
    return re.fullmatch(r"-?[0-9]{1,26}([.][0-9]{1,12})?", text) is not None


def units(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    whole, _, fraction = text.lstrip("-").partition(".")
    return sign * (int(whole) * UNIT + int(fraction.ljust(12, "0")))


def shown(number: int) -> str:
    whole, fraction = divmod(abs(number), UNIT)
    text = f"{whole}.{fraction:012d}".rstrip("0").rstrip(".")
    return "-" + text if number < 0 else text


def rounded_half_up(total: int, count: int) -> int:
    quotient = (2 * abs(total) + count) // (2 * count)
    return -quotient if total < 0 else quotient


def plain_usage(meter: Definition, events: Sequence[Event]) -> str | None:
    """The usage of `events`, in the order of the log."""
    key = meter.value_property
    texts = [event.properties.get(key) if key else shown(units(format(event.value, "f"))) for event in events]
    if meter.aggregation is AggregationName.COUNT:
        return str(len(events))
    if meter.aggregation is AggregationName.UNIQUE_COUNT:
        return str(len({text for text in texts if text is not None}))
    counted = [(event.at, units(text)) for event, text in zip(events, texts, strict=True) if text and is_number(text)]
    numbers = [number for _, number in counted]
    if meter.aggregation is AggregationName.SUM:
        return shown(sum(numbers))
    if not numbers:
        return None
    if meter.aggregation is AggregationName.PERCENTILE:
        rank = ceil(Fraction(meter.percentile) / 100 * len(numbers))
        return shown(sorted(numbers)[rank - 1])
    in_time_order = [number for _, number in sorted(counted, key=lambda pair: pair[0])]
    return shown(
        {
            AggregationName.MIN: min(numbers),
            AggregationName.MAX: max(numbers),
            AggregationName.AVG: rounded_half_up(sum(numbers), len(numbers)),
            AggregationName.FIRST: in_time_order[0],
            AggregationName.LAST: in_time_order[-1],
        }[meter.aggregation]
    )


def is_counted(meter: Definition, event: Event) -> bool:
    if event.type != meter.event_type:
        return False
    text = event.properties.get(meter.value_property, "") if meter.value_property else "1"
    if meter.aggregation is AggregationName.UNIQUE_COUNT:
        return not meter.value_property or meter.value_property in event.properties
    return is_number(text)
