"""The state of a meter in one hour, of one subject and group, as plain values that can be compared and shown."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.aggregator.check.plain_usage import PlainUsage, units_text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEXT_CHARACTERS_SHOWN = 60


@dataclass(frozen=True, slots=True)
class StateKey:
    """Which state: `hour_us` is the first microsecond of its UTC hour, `group` in the order of the meter's group_by."""

    meter: str
    hour_us: int
    subject: str
    group: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class State:
    """What an aggregation keeps: a count, a number in units, where the number comes from, different texts."""

    count: int | None = None
    number: int | None = None
    place: tuple[int, int, int] | None = None
    texts: frozenset[str] = frozenset()

    def shown(self) -> str:
        """For people."""
        parts = []
        if self.count is not None:
            parts.append(f"count {self.count}")
        if self.number is not None:
            parts.append(units_text(self.number))
        if self.place is not None:
            at_us, position, row = self.place
            parts.append(f"of {(_EPOCH + timedelta(microseconds=at_us)).isoformat()} (position {position}, row {row})")
        if self.texts:
            parts.append(f"{len(self.texts)} different texts, the last {max(self.texts)[:TEXT_CHARACTERS_SHOWN]!r}")
        return ", ".join(parts)


def counted(aggregation: str, state: State | None, usage: PlainUsage, number: int) -> State:
    """The state with one usage event more. Different texts are gathered elsewhere."""
    match aggregation:
        case "count":
            return State(count=(state.count or 0) + 1 if state else 1)
        case "avg":
            count, total = (state.count or 0, state.number or 0) if state else (0, 0)
            return State(count=count + 1, number=total + number)
        case "first" | "last" | "weighted_sum":
            place = (usage.at_us, usage.position, usage.row)
            if state is None or state.place is None:
                return State(number=number, place=place)
            is_nearer = place < state.place if aggregation == "first" else place > state.place
            return State(number=number, place=place) if is_nearer else state
        case "min" | "max":
            known = number if state is None or state.number is None else state.number
            return State(number=min(known, number) if aggregation == "min" else max(known, number))
        case _:
            return State(number=(state.number or 0) + number if state else number)
