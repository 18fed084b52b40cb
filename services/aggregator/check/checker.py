"""Checks the states that are held against the log: samples of them, or all."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from random import Random

from services.aggregator.check.facts import FactReader, Facts
from services.aggregator.check.held import held_states
from services.aggregator.check.held_answers import held_answers
from services.aggregator.check.plain_meter import PlainMeter
from services.aggregator.check.plain_usage import HOUR_US, Wanted
from services.aggregator.check.recount import Recount
from services.aggregator.check.sampling import Sample, sample_held, sample_recorded
from services.aggregator.check.state import State, StateKey
from services.aggregator.check.usage_check import Findings, UsageCheck
from services.aggregator.deadline import Deadline
from services.aggregator.snapshot import UsageSnapshot, snapshot
from services.aggregator.tables import UsageTables
from services.aggregator.usage.archived_usage import ArchivedUsage
from services.aggregator.usage.batch_rows import batches_between
from services.aggregator.usage.usage_log import read_batches
from services.eventstore.event import BEGINNING, Position, RecordedEvent
from services.eventstore.store import EventStore
from services.kernel.clock import Clock
from services.projection.runner import ProjectionRunner

STATES_MAX = 200_000
"""States that a check of all holds in memory; a log with more is read several times, some hours each time."""

EVENTS_READ = 16
"""Stored batches that are read at once."""

_FIRST_HOUR, _BEHIND_ALL = -(2**62), 2**62


class UsageChecker:
    """Recounts from the log's batches and events in plain Python; shares no counting with the fold and the queries."""

    def __init__(
        self,
        store: EventStore,
        windows: ProjectionRunner[UsageTables],
        clock: Clock,
        partitions: int,
        archive: ArchivedUsage | None = None,
    ) -> None:
        self._store = store
        self._windows = windows
        self._clock = clock
        self._partitions = partitions
        self._archive = archive
        self._facts = FactReader(store, windows.name)

    def check_samples(
        self, count: int, seed: int, again: Sequence[Sample], deadline: Deadline, usage_events_max: int
    ) -> UsageCheck:
        """About `count` samples chosen by `seed`, half of them among states, half among usage; and `again` first.

        Ends early when it has decoded `usage_events_max` usage events. Raises TimedOut.
        """
        started_at, findings = self._clock.now(), Findings()
        with snapshot(self._windows, self._store, self._archive) as source:
            facts = self._facts.at(source.position)
            samples, seen = self._draw(source, facts, Random(seed), count)  # noqa: S311 (a repeatable choice, no secret)
            for hour in _by_hour(again, facts):
                self._check_hour(source, facts, hour, seen, findings, deadline)
            left = usage_events_max
            for hour in _by_hour([sample for sample in samples if sample not in again], facts):
                left -= self._check_hour(source, facts, hour, seen, findings, deadline)
                if left <= 0:
                    break
        return self._check(source.position, seed, False, findings, started_at)

    def check_all(self, seed: int, deadline: Deadline) -> UsageCheck:
        """Every state of every meter, hour by hour as far as memory goes at once; raises TimedOut."""
        started_at, findings = self._clock.now(), Findings()
        start_us, position = _FIRST_HOUR, BEGINNING
        while start_us < _BEHIND_ALL:
            with snapshot(self._windows, self._store, self._archive) as source:
                facts = self._facts.at(source.position)
                recount, end_us = self._recount_from(facts, source.position, start_us, deadline)
                for meter in facts.meters.values():
                    held = _held(source, meter, (start_us, end_us), recount.hours, (), deadline)
                    findings.compare(held, recount.states(meter), tuple(meter.newest.group_by))
                findings.usage_event_count += recount.usage_event_count
                start_us, position = end_us, source.position
        return self._check(position, seed, True, findings, started_at)

    def _draw(
        self, source: UsageSnapshot, facts: Facts, random: Random, count: int
    ) -> tuple[list[Sample], dict[Position, RecordedEvent]]:
        held = list(sample_held(source.connection, source.tables, facts, random, count - count // 2))
        recorded = list(sample_recorded(self._store, self._partitions, facts, source.position, random, count // 2))
        seen = {event.position: event for event, _ in recorded}
        return [*held, *(sample for _, sample in recorded)], seen

    def _check_hour(
        self,
        source: UsageSnapshot,
        facts: Facts,
        samples: Sequence[Sample],
        seen: dict[Position, RecordedEvent],
        findings: Findings,
        deadline: Deadline,
    ) -> int:
        """Check samples of one hour; returns how many usage events were decoded for it.

        Batches that were drawn from the log are looked at, too: the index of batches may miss one.
        """
        hour = samples[0].hour_us
        subjects = {sample.subject for sample in samples}
        meters = [facts.meters[slug] for slug in sorted({sample.meter for sample in samples})]
        places = batches_between(source.connection, source.tables, hour, hour + HOUR_US)
        listed = {place.position for place in places}
        types = frozenset[str]().union(*(meter.types for meter in meters))
        wanted = Wanted(types, frozenset(subjects), hour, hour + HOUR_US)
        recount = Recount(facts, meters)
        unlisted = [event for position, event in seen.items() if position not in listed]
        for events in (*read_batches(self._store, places), unlisted):
            deadline.require()
            for event in events:
                recount.add(event, wanted)
        for meter in meters:
            asked = sorted({sample.subject for sample in samples if sample.meter == meter.slug})
            held = _held(source, meter, (hour, hour + HOUR_US), [hour], asked, deadline)
            recounted = {key: each for key, each in recount.states(meter).items() if key.subject in asked}
            findings.compare(held, recounted, tuple(meter.newest.group_by))
        findings.usage_event_count += recount.usage_event_count
        return sum(place.usage_event_count for place in places)

    def _recount_from(self, facts: Facts, until: Position, start_us: int, deadline: Deadline) -> tuple[Recount, int]:
        """The states of the hours from `start_us` on, and the first hour that would have been too much."""
        recount, end_us, types = Recount(facts, facts.meters.values()), _BEHIND_ALL, facts.types
        for event in self._usage_until(until):
            deadline.require()
            recount.add(event, Wanted(types, None, start_us, end_us))
            hours = recount.hours
            if len(recount) > STATES_MAX and len(hours) > 1:
                end_us = hours[len(hours) // 2]
                recount.drop_from(end_us)
        return recount, end_us

    def _usage_until(self, until: Position) -> Iterator[RecordedEvent]:
        position, is_last = BEGINNING, False
        while position < until and not is_last:
            page = self._store.read_all(after=position, categories={"usage"}, limit=EVENTS_READ)
            yield from (event for event in page.events if event.position <= until)
            position, is_last = page.position, page.is_last

    def _check(
        self, position: Position, seed: int, is_of_all: bool, findings: Findings, started_at: datetime
    ) -> UsageCheck:
        return UsageCheck(
            position=position,
            seed=seed,
            is_of_all=is_of_all,
            checked_count=findings.checked_count,
            usage_event_count=findings.usage_event_count,
            differences=tuple(findings.differences),
            difference_count=findings.difference_count,
            started_at=started_at,
            ended_at=self._clock.now(),
        )


def _by_hour(samples: Sequence[Sample], facts: Facts) -> list[list[Sample]]:
    known = sorted({sample for sample in samples if sample.meter in facts.meters})
    return [list(some) for _, some in groupby(known, key=lambda sample: sample.hour_us)]


def _held(
    source: UsageSnapshot,
    meter: PlainMeter,
    span: tuple[int, int],
    hours: Sequence[int],
    subjects: Sequence[str],
    deadline: Deadline,
) -> dict[StateKey, State]:
    """What the aggregator has of a meter in a span of hours; what keeps no states is asked for `hours` only."""
    if meter.keeps_states:
        return held_states(source.connection, source.tables, meter, span, subjects or None)
    return held_answers(source, meter, hours, subjects, deadline)
