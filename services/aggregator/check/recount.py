"""Counts usage events anew, one by one, into states of hours."""

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from math import ceil

from services.aggregator.check.facts import Facts
from services.aggregator.check.plain_meter import PlainMeter, counted_number
from services.aggregator.check.plain_usage import PlainUsage, Wanted, plain_usage
from services.aggregator.check.state import State, StateKey, counted
from services.eventstore.event import RecordedEvent


class Recount:
    """The states that usage events leave, counted by some meters of `facts`."""

    def __init__(self, facts: Facts, meters: Iterable[PlainMeter]) -> None:
        self._facts = facts
        self._states: dict[StateKey, State] = {}
        self._texts: dict[StateKey, set[str]] = {}
        self._numbers: dict[StateKey, list[int]] = {}
        self._events_by_hour: Counter[int] = Counter()
        self._meters_by_type: dict[str, list[PlainMeter]] = {}
        for meter in meters:
            for kind in meter.types:
                self._meters_by_type.setdefault(kind, []).append(meter)

    def __len__(self) -> int:
        """How much it holds, in states."""
        return len(self._states) + len(self._texts) + len(self._numbers)

    @property
    def usage_event_count(self) -> int:
        """Usage events that were looked at, whether or not they count."""
        return sum(self._events_by_hour.values())

    @property
    def hours(self) -> list[int]:
        """The hours of usage events that were looked at, in order."""
        return sorted(self._events_by_hour)

    def add(self, event: RecordedEvent, wanted: Wanted) -> None:
        """Count the usage events of one batch that are wanted."""
        if event.leaf in self._facts.skipped:
            return
        for recorded in plain_usage(event, wanted):
            self._events_by_hour[recorded.hour_us] += 1
            usage = self._facts.corrections.effect_on(recorded)
            if usage is not None:
                self._count(usage)

    def drop_from(self, hour_us: int) -> None:
        """Forget this hour and later ones."""
        self._states = {key: each for key, each in self._states.items() if key.hour_us < hour_us}
        self._texts = {key: each for key, each in self._texts.items() if key.hour_us < hour_us}
        self._numbers = {key: each for key, each in self._numbers.items() if key.hour_us < hour_us}
        for hour in [hour for hour in self._events_by_hour if hour >= hour_us]:
            del self._events_by_hour[hour]

    def states(self, meter: PlainMeter) -> dict[StateKey, State]:
        """Every state of one meter. That of a percentile is the percentile itself, for no hour keeps more of it."""
        percent = meter.newest.percentile
        found = {key: each for key, each in self._states.items() if key.meter == meter.slug}
        for key, texts in self._texts.items():
            if key.meter == meter.slug:
                found[key] = State(texts=frozenset(texts))
        for key, numbers in self._numbers.items():
            if key.meter == meter.slug:
                rank = ceil(Fraction(percent) * len(numbers) / 100)
                found[key] = State(number=sorted(numbers)[rank - 1])
        return found

    def _count(self, usage: PlainUsage) -> None:
        for meter in self._meters_by_type.get(usage.type, ()):
            said = meter.says_at(usage.at_us)
            number = counted_number(said, usage)
            if number is None:
                continue
            key = StateKey(meter.slug, usage.hour_us, usage.subject, meter.group_of(said, usage))
            if isinstance(number, str):
                self._texts.setdefault(key, set()).add(number)
            elif said.aggregation == "percentile":
                self._numbers.setdefault(key, []).append(number)
            else:
                self._states[key] = counted(said.aggregation, self._states.get(key), usage, number)
