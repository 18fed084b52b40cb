"""A check and what it found, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from services.aggregator.check.sampling import Sample
from services.aggregator.check.state import State, StateKey
from services.eventstore.event import Position

DIFFERENCES_MAX = 1_000
"""Differences of one check that are told one by one."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A state that is not what the log says; None where there is none. `keys` are the group's, in its order."""

    key: StateKey
    keys: tuple[str, ...]
    held: State | None
    recounted: State | None

    @property
    def sample(self) -> Sample:
        """What has to be checked again to see whether it still differs."""
        return Sample(self.key.hour_us, self.key.meter, self.key.subject)


@dataclass(frozen=True, slots=True)
class UsageCheck:
    """One check. `differences` holds the first DIFFERENCES_MAX of `difference_count`."""

    position: Position
    seed: int
    is_of_all: bool
    checked_count: int
    usage_event_count: int
    differences: tuple[Difference, ...]
    difference_count: int
    started_at: datetime
    ended_at: datetime


class Findings:
    """What a check has found so far."""

    def __init__(self) -> None:
        self.checked_count = 0
        self.usage_event_count = 0
        self.difference_count = 0
        self.differences: list[Difference] = []

    def compare(
        self, held: Mapping[StateKey, State], recounted: Mapping[StateKey, State], keys: tuple[str, ...]
    ) -> None:
        """Note every state that is on one side only, or not the same on both."""
        either = sorted({*held, *recounted}, key=lambda key: (key.hour_us, key.subject, key.group))
        self.checked_count += len(either)
        for key in either:
            if held.get(key) != recounted.get(key):
                self.difference_count += 1
                if len(self.differences) < DIFFERENCES_MAX:
                    self.differences.append(Difference(key, keys, held.get(key), recounted.get(key)))
