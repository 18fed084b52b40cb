"""What a meter counts, read from its events: which usage events, in which group, with which number."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from google.protobuf.message import Message

from meterlog.events.v1.meter_pb2 import MeterCreated, MeterRedefined
from services.aggregator.check.plain_condition import meets_all
from services.aggregator.check.plain_expression import NoNumber, evaluate, plain_number
from services.aggregator.check.plain_usage import UNIT, PlainUsage, units_text
from services.kernel.clock import epoch_us
from services.kernel.timestamp import from_timestamp


@dataclass(frozen=True, slots=True)
class PlainMeter:
    """A meter and its versions, oldest first, each with the first event time that it counts (None: all)."""

    slug: str
    versions: tuple[tuple[int | None, MeterCreated], ...]

    @property
    def newest(self) -> MeterCreated:
        """What it says of usage of the latest time."""
        return self.versions[-1][1]

    @property
    def keeps_states(self) -> bool:
        """Whether hours keep anything of it; percentiles are answered from usage events alone."""
        return self.newest.aggregation != "percentile"

    @property
    def types(self) -> frozenset[str]:
        """The types of usage events that it counts, at one time or another."""
        return frozenset(said.event_type for _, said in self.versions)

    def says_at(self, at_us: int) -> MeterCreated:
        """The version in force: the last decided of those that had begun."""
        return next(said for begin, said in reversed(self.versions) if begin is None or begin <= at_us)

    def group_of(self, said: MeterCreated, usage: PlainUsage) -> tuple[str, ...]:
        """The group of a usage event: "" for a property that it has not, or that its version does not group by."""
        keys = [*said.group_by, *([None] * (len(self.newest.group_by) - len(said.group_by)))]
        return tuple(usage.properties.get(key, "") if key else "" for key in keys)


def read_meters(events: Iterable[Message]) -> dict[str, PlainMeter]:
    """The meters that these events leave, by slug."""
    meters: dict[str, PlainMeter] = {}
    for event in events:
        if isinstance(event, MeterCreated):
            meters[event.slug] = PlainMeter(event.slug, ((None, event),))
        elif isinstance(event, MeterRedefined):
            begin = epoch_us(from_timestamp(event.effective_from)) if event.HasField("effective_from") else None
            earlier = meters[event.slug].versions if begin is not None else ()
            meters[event.slug] = PlainMeter(event.slug, (*earlier, (begin, event.definition)))
    return meters


def counted_number(said: MeterCreated, usage: PlainUsage) -> int | str | None:
    """What the version counts of a usage event: a number in units, the text of a unique count, 1 of a count.

    None when it does not count it.
    """
    if usage.type != said.event_type or not meets_all(usage, said.filters):
        return None
    if said.aggregation == "count":
        return 1
    if said.aggregation == "unique_count" and said.value_property:
        return usage.properties.get(said.value_property)
    try:
        number = _number(said, usage)
    except NoNumber:
        return None
    return units_text(number) if said.aggregation == "unique_count" else number


def _number(said: MeterCreated, usage: PlainUsage) -> int:
    if said.value_expression:
        return int(evaluate(said.value_expression, Fraction(usage.value, UNIT), usage.properties) * UNIT)
    if said.value_property:
        return int(plain_number(usage.properties.get(said.value_property)) * UNIT)
    return usage.value
