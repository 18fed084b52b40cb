"""Meters by plain Python over lists: filters, expressions, versions and levels; shares no code with the aggregator."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil

from tests.plain_expression import Written, half_up, number_of
from tests.plain_usage import UNIT, Event, is_number
from tests.plain_usage import shown as shown_units

Group = tuple[str, ...]
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class PlainVersion:
    """What a version of a meter counts: its conditions as functions, its number as an expression, property or value."""

    event_type: str
    group_by: tuple[str, ...]
    conditions: tuple[Callable[[Event], bool], ...]
    expression: Written | None
    value_property: str
    since: datetime | None

    def counts(self, event: Event) -> bool:
        return event.type == self.event_type and all(is_met(event) for is_met in self.conditions)

    def text(self, event: Event) -> str | None:
        if self.expression is not None:
            number = number_of(self.expression, Fraction(event.value), event.properties)
            return None if number is None else shown(number)
        return event.properties.get(self.value_property) if self.value_property else shown(Fraction(event.value))


@dataclass(frozen=True)
class Counted:
    """A usage event as a meter counts it: when, for whom, in which group, its text and its number."""

    at: datetime
    subject: str
    group: Group
    text: str | None
    number: Fraction | None


def shown(number: Fraction) -> str:
    scaled = number * UNIT
    assert scaled.denominator == 1
    return shown_units(scaled.numerator)


def counted_by(versions: Sequence[PlainVersion], aggregation: str, events: Sequence[Event]) -> list[Counted]:
    """What the versions (oldest first) count of `events`, in the order of the log."""
    counted = []
    keys = len(versions[-1].group_by)
    for event in events:
        version = [each for each in in_force(versions) if each.since is None or each.since <= event.at][-1]
        if not version.counts(event):
            continue
        text = version.text(event)
        number = Fraction(text) if text is not None and is_number(text) else None
        if (text if aggregation == "unique_count" else number) is None and aggregation != "count":
            continue
        group = tuple(event.properties.get(key, "") for key in version.group_by)
        counted.append(Counted(event.at, event.subject, (*group, *[""] * (keys - len(group))), text, number))
    return counted


def in_force(versions: Sequence[PlainVersion]) -> list[PlainVersion]:
    """The versions that count something, by the time from which they do."""
    standing: list[PlainVersion] = []
    for version in versions:
        if version.since is None:
            standing = []
        since = version.since
        standing = [old for old in standing if old.since is None or (since is not None and old.since < since)]
        standing.append(version)
    return standing


def quantity(aggregation: str, percent: str, counted: Sequence[Counted]) -> str | None:
    """What counted usage events amount to; no levels."""
    if aggregation == "count":
        return str(len(counted))
    if aggregation == "unique_count":
        return str(len({each.text for each in counted}))
    numbers = [each.number for each in counted if each.number is not None]
    if aggregation == "sum":
        return shown(sum(numbers, Fraction(0)))
    if not numbers:
        return None
    in_time = [each.number for each in sorted(counted, key=lambda each: each.at) if each.number is not None]
    said: Mapping[str, Callable[[], Fraction]] = {
        "min": lambda: min(numbers),
        "max": lambda: max(numbers),
        "avg": lambda: half_up(sum(numbers, Fraction(0)) / len(numbers), 12),
        "first": lambda: in_time[0],
        "last": lambda: in_time[-1],
        "percentile": lambda: sorted(numbers)[ceil(Fraction(percent) / 100 * len(numbers)) - 1],
    }
    return shown(said[aggregation]())


def level_hours(counted: Sequence[Counted], start: datetime, end: datetime, now: datetime) -> str:
    """The levels of usage events, in the order of the log, over one window until `now`, in unit-hours."""
    until, total = min(end, now), Fraction(0)
    for key in {(each.subject, each.group) for each in counted}:
        changes = sorted((each for each in counted if (each.subject, each.group) == key), key=lambda each: each.at)
        for change, after in zip(changes, [*(each.at for each in changes[1:]), until], strict=True):
            lasting = min(after, until) - max(change.at, start)
            assert change.number is not None
            total += change.number * max(lasting // MICROSECOND, 0)
    return shown(half_up(total / 3_600_000_000, 12))
