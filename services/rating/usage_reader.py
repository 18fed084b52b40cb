"""What rating asks of the aggregator: the usage of a customer in a period, and whether a meter can be priced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from services.eventstore.event import Position
from services.kernel.calendar import Span


class MeterState(StrEnum):
    """Whether a plan may name a meter: only one that is in use."""

    ABSENT = "absent"
    IN_USE = "in use"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class UsageRead:
    """Quantities by meter, 0 where there was no usage, and the log position that all of them count up to."""

    quantities: Mapping[str, Decimal]
    position: Position


class UsageReader(Protocol):
    """The aggregator, as rating sees it. Raises Unavailable or TimedOut when there is no answer; repeat later."""

    def usage(
        self, meters: Sequence[str], customer: str, period: Span, min_position: Position, timeout_s: float
    ) -> UsageRead:
        """The customer's usage of each meter in the period, with everything up to `min_position` counted in."""

    def meter_state(self, slug: str, timeout_s: float) -> MeterState:
        """Whether the meter exists and is in use."""
