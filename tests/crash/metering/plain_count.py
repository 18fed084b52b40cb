"""What a log of metering counts at a position, for whom and in which group: by plain Python over its usage events.

Usage that only cancellations can touch is decided by a list of those that hit it; the few usage events that were
amended or belong to a backfill go the long way of `tests.plain_corrections`.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TypeAlias

from tests.crash.metering.plain_log import PlainLog, PlainMeter
from tests.plain_corrections import Amend, Cancel, Close, Drop, Recorded, Revert, Wanted, usage_that_counts
from tests.plain_meters import Counted, Group, counted_by, quantity
from tests.plain_usage import Event

Answer: TypeAlias = dict[tuple[str, Group], str]
"""Quantities by subject and group; a group that has none is left out."""

Hit: TypeAlias = tuple[int, int]
"""From which position on something cancels a usage event, and from which it was reverted."""

NEVER = 2**63
"""Behind every position."""

HOUR = timedelta(hours=1)


class PlainCount:
    """Counts one log, at any of its positions."""

    def __init__(self, log: PlainLog) -> None:
        self._log = log
        self._counting: dict[int, list[Event]] = {}

    def counting(self, at: int) -> list[Event]:
        """The usage events that count at a position, as they are said to be, in the order of the log."""
        if at not in self._counting:
            self._counting[at] = [
                event for usage in self._log.usage if usage.position <= at for event in self._of(usage, at)
            ]
        return self._counting[at]

    def answer(
        self,
        slug: str,
        at: int,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Answer:
        """What a meter says, by the versions known then."""
        versions = self._versions(slug, at)
        events = [
            event
            for event in self.counting(at)
            if (start is None or event.at >= start) and (end is None or event.at < end)
        ]
        groups: defaultdict[tuple[str, Group], list[Counted]] = defaultdict(list)
        for each in counted_by([each.version for each in versions], versions[-1].aggregation, events):
            groups[each.subject, each.group].append(each)
        return {key: self._quantity(versions[-1], counted) for key, counted in groups.items()}

    def hours(self, slug: str, at: int) -> Answer:
        """As `answer`, hour by hour: the first of the group's texts is the hour's start, as JSON writes instants."""
        found: Answer = {}
        for hour in sorted({event.at.replace(minute=0, second=0, microsecond=0) for event in self.counting(at)}):
            for (subject, group), said in self.answer(slug, at, start=hour, end=hour + HOUR).items():
                found[subject, (f"{hour:%Y-%m-%dT%H:%M:%SZ}", *group)] = said
        return found

    def total(self, slug: str, at: int, subject: str, start: datetime, end: datetime) -> str | None:
        """What a meter says of one subject, whatever the group; None when it counts nothing."""
        versions = self._versions(slug, at)
        events = [event for event in self.counting(at) if event.subject == subject and start <= event.at < end]
        counted = counted_by([each.version for each in versions], versions[-1].aggregation, events)
        return self._quantity(versions[-1], counted) if counted else None

    def meters(self, at: int) -> list[str]:
        """The meters that there are at a position."""
        return [slug for slug, versions in self._log.meters.items() if versions[0].position <= at]

    def _versions(self, slug: str, at: int) -> list[PlainMeter]:
        versions = self._log.meters[slug]
        return [each for each in versions if each.position <= at] or versions[:1]

    def _quantity(self, meter: PlainMeter, counted: Sequence[Counted]) -> str:
        said = quantity(meter.aggregation, meter.percentile, counted)
        assert said is not None, "what is counted has a quantity"
        return said

    def _of(self, usage: Recorded, at: int) -> Sequence[Event]:
        if (usage.position, usage.row) in self._amended or usage.source.startswith("backfill/"):
            return usage_that_counts([usage], self._log.said, at)
        hits = self._hits.get((usage.position, usage.row), ())
        return () if any(since <= at < until for since, until in hits) else (usage.event,)

    @cached_property
    def _amended(self) -> set[tuple[int, int]]:
        return {each.place for each in self._log.said if isinstance(each, Amend)}

    @cached_property
    def _hits(self) -> dict[tuple[int, int], list[Hit]]:
        """Of usage that nothing else touches: what cancels it."""
        ends = {("correction", each.key): each.position for each in self._log.said if isinstance(each, Revert)}
        ends |= {("backfill", each.key): each.position for each in self._log.said if isinstance(each, Drop)}
        hits: defaultdict[tuple[int, int], list[Hit]] = defaultdict(list)
        for each in self._log.said:
            if isinstance(each, Cancel | Close):
                kind = "correction" if isinstance(each, Cancel) else "backfill"
                hit = (each.position, ends.get((kind, each.key), NEVER))
                named = each.places if isinstance(each, Cancel) else frozenset()
                for usage in self._log.usage:
                    place = (usage.position, usage.row)
                    if usage.position <= each.until and (place in named or _is_wanted(usage.event, each.wanted)):
                        hits[place].append(hit)
        return hits


def _is_wanted(event: Event, wanted: Wanted | None) -> bool:
    return wanted is not None and (
        wanted.subject in (None, event.subject)
        and wanted.type in (None, event.type)
        and (wanted.start is None or event.at >= wanted.start)
        and (wanted.end is None or event.at < wanted.end)
        and wanted.region in (None, event.properties.get("region"))
    )
