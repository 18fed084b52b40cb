"""Types of usage events that no meter in use counts: most often a typing error, of a producer or of a meter."""

from collections.abc import Iterator
from itertools import islice

from services.aggregator.meters.meter_rows import list_meters
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.usage.usage_types import RecordedType, read_types

METERS_READ = 1_000
TYPES_READ = 1_000


def unmatched_types(source: UsageSnapshot, after: str, limit: int) -> list[RecordedType]:
    """Up to `limit` types behind `after`, by name, that no version of a meter counts that is not archived."""
    matched = _matched_types(source)
    return list(islice((each for each in _types(source, after) if each.type not in matched), limit))


def _types(source: UsageSnapshot, after: str) -> Iterator[RecordedType]:
    while types := read_types(source.connection, source.tables, after, TYPES_READ):
        yield from types
        after = types[-1].type


def _matched_types(source: UsageSnapshot) -> frozenset[str]:
    matched: set[str] = set()
    after = ""
    while True:
        meters = list_meters(source.connection, source.tables, after=after, limit=METERS_READ, include_archived=False)
        for meter in meters:
            matched.update(meter.definition.event_types)
        if len(meters) < METERS_READ:
            return frozenset(matched)
        after = meters[-1].definition.slug
