"""Usage events by chance: few subjects, hours and regions, so that everything meets everything."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

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
