"""Corrections by plain Python over a list: what the log says of usage up to a position."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from tests.plain_usage import Event


@dataclass(frozen=True)
class Recorded:
    """A usage event, who sent it, and where it lies."""

    event: Event
    source: str
    position: int
    row: int


@dataclass(frozen=True)
class Wanted:
    """What a filter says; None says nothing. `region` is the text that the property must equal."""

    subject: str | None = None
    type: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    region: str | None = None
    below: int | None = None


@dataclass(frozen=True)
class Cancel:
    key: str
    position: int
    until: int
    places: frozenset[tuple[int, int]] = frozenset()
    wanted: Wanted | None = None


@dataclass(frozen=True)
class Amend:
    key: str
    position: int
    place: tuple[int, int]
    value: Decimal | None
    properties: Mapping[str, str] | None


@dataclass(frozen=True)
class Revert:
    key: str
    position: int


@dataclass(frozen=True)
class Close:
    """A backfill is closed; `wanted` is what it replaces, None for nothing."""

    key: str
    position: int
    until: int
    wanted: Wanted | None


@dataclass(frozen=True)
class Drop:
    key: str
    position: int


Said = Cancel | Amend | Revert | Close | Drop


def usage_that_counts(recorded: Iterable[Recorded], said: Iterable[Said], at: int) -> list[Event]:
    """What counts at position `at`, with what it says, in log order."""
    heard = [each for each in said if each.position <= at]
    gone = {("correction", each.key) for each in heard if isinstance(each, Revert)}
    gone |= {("backfill", each.key) for each in heard if isinstance(each, Drop)}
    left = [each for each in heard if (_kind(each), each.key) not in gone]
    return [
        _said_at(each, left, at)
        for each in sorted(recorded, key=lambda each: (each.position, each.row))
        if each.position <= at and _is_open(each, left, at) and not any(_is_cancelled(each, by, left) for by in left)
    ]


def _kind(said: Said) -> str:
    return "backfill" if isinstance(said, Close | Drop) else "correction"


def _is_open(usage: Recorded, left: list[Said], at: int) -> bool:
    """Usage of a backfill counts once that is closed."""
    parts = usage.source.split("/")
    if parts[0] != "backfill" or len(parts) < 3:
        return True
    return any(isinstance(each, Close) and each.key == parts[1] and each.position <= at for each in left)


def _is_cancelled(usage: Recorded, by: Said, left: list[Said]) -> bool:
    if not isinstance(by, Cancel | Close) or usage.position > by.until:
        return False
    if isinstance(by, Cancel) and (usage.position, usage.row) in by.places:
        return True
    if by.wanted is None or (isinstance(by, Close) and usage.source.startswith(f"backfill/{by.key}/")):
        return False
    freed_until = by.position if isinstance(by, Close) else by.until
    return _is_open(usage, left, freed_until) and _is_wanted(_said_at(usage, left, by.until), by.wanted)


def _said_at(usage: Recorded, left: list[Said], at: int) -> Event:
    event = usage.event
    for each in left:
        if isinstance(each, Amend) and each.position <= at and each.place == (usage.position, usage.row):
            if each.value is not None:
                event = replace(event, value=each.value)
            if each.properties is not None:
                event = replace(event, properties=dict(each.properties))
    return event


def _is_wanted(event: Event, wanted: Wanted) -> bool:
    return (
        wanted.subject in (None, event.subject)
        and wanted.type in (None, event.type)
        and (wanted.start is None or event.at >= wanted.start)
        and (wanted.end is None or event.at < wanted.end)
        and (wanted.region is None or event.properties.get("region") == wanted.region)
        and (wanted.below is None or event.value < wanted.below)
    )
