"""Usage, and what is said about it, by chance: few subjects, hours and regions, so that everything meets everything."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tests.plain_corrections import Amend, Cancel, Close, Drop, Recorded, Revert, Said, Wanted
from tests.plain_usage import Event

DAYS = tuple(datetime(2024, *day, tzinfo=UTC) for day in ((1, 31), (2, 1), (2, 29), (3, 1)))
"""Days on both sides of the ends of two months, all long over: their periods close under load, and are restated."""

SUBJECTS = ("ann", "bob", "cat", "dan", "eve")
TYPES = ("call", "call", "call", "store", "typo")
REGIONS = ("eu", "us", "")
HOURS = 8
BEGIN, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)


def usage_event(chance: random.Random) -> Event:
    """A usage event."""
    at = chance.choice(DAYS) + timedelta(hours=chance.randrange(HOURS), microseconds=chance.randrange(3_600_000_000))
    region = chance.choice(REGIONS)
    properties = {"region": region} if region else {}
    if chance.random() < 0.5:
        properties["size"] = str(chance.randrange(100))
    value = Decimal(chance.randrange(-5_000, 100_000)).scaleb(-3)
    return Event(chance.choice(TYPES), chance.choice(SUBJECTS), at, value, properties)


def some_history(chance: random.Random) -> tuple[list[Recorded], list[Said]]:
    """Usage first; then decisions, each under a key of its own, some of them reverted."""
    sources = ("a", "b", "backfill/b1/a", "backfill/b2/a")
    recorded = [
        Recorded(usage_event(chance), chance.choice(sources), position, row)
        for position in range(1, 20)
        for row in range(2)
    ]
    backfills, corrections, closed = ["b1", "b2"], [f"k{number}" for number in range(10)], []
    standing: list[str] = []
    said: list[Said] = []
    for position in range(20, 30):
        until, place = chance.randrange(position), (chance.randrange(1, 20), chance.randrange(2))
        wanted = Wanted(subject=chance.choice((None, *SUBJECTS)), region=chance.choice((None, *REGIONS[:2])))
        match chance.randrange(6):
            case 0 if backfills:
                closed.append(backfills.pop())
                said.append(Close(closed[-1], position, until, chance.choice((None, wanted))))
            case 1 if closed:
                said.append(Drop(closed.pop(), position))
            case 2 if standing:
                said.append(Revert(standing.pop(chance.randrange(len(standing))), position))
            case 3:
                said.append(Amend(corrections[-1], position, place, Decimal(7), {"region": "eu"}))
                standing.append(corrections.pop())
            case number:
                named = frozenset({place}) if number % 2 else frozenset()
                said.append(Cancel(corrections[-1], position, until, named, None if named else wanted))
                standing.append(corrections.pop())
    return recorded, said
