"""The corrections and backfills that are in force at one position of the log. Pure values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeAlias

from services.aggregator.corrections.usage_filter import UsageFilter
from services.eventstore.event import Position

Place: TypeAlias = tuple[int, int]
"""Where a usage event lies: log position, row in that event from 0."""


@dataclass(frozen=True, slots=True)
class NamedCancellation:
    """One usage event that the correction `key`, decided at `position`, says does not count."""

    key: str
    position: Position
    place: Place


@dataclass(frozen=True, slots=True)
class FilterCancellation:
    """Usage recorded up to `until` does not count when the filter chooses it by what it said at `until`.

    It hits what counted there, so usage that a backfill still held back at `until` is none of its business. Sources
    that begin with `spared_source` (not empty) are left alone: a backfill does not replace itself. It does replace what
    any other one freed before its own closing, at `position`.
    """

    key: str
    position: Position
    until: Position
    filter: UsageFilter
    spared_source: str = ""


@dataclass(frozen=True, slots=True)
class Amendment:
    """One usage event says something else from the correction on; None keeps what earlier amendments said."""

    key: str
    position: Position
    place: Place
    value: Decimal | None
    properties: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Force:
    """All that acts, each in the order of the log.

    `closed` holds the backfills whose usage counts, with the position of their closing: every other one holds its
    usage back.
    """

    named: tuple[NamedCancellation, ...] = ()
    filters: tuple[FilterCancellation, ...] = ()
    amendments: tuple[Amendment, ...] = ()
    closed: Mapping[str, Position] = field(default_factory=dict)

    @property
    def columns(self) -> set[str]:
        """The columns of a usage table that `corrected` looks at."""
        return {"source"}.union(*(each.filter.columns for each in self.filters))
