"""The laws of periods: closed once, each restatement follows from what was said before, and all of it was so."""

import random
from collections.abc import Sequence

from meterlog.events.v1.meter_pb2 import UsagePeriodClosed
from services.kernel.timestamp import from_timestamp
from tests.crash.law import Law, Violation, broken
from tests.crash.metering.plain_count import PlainCount
from tests.crash.metering.plain_log import PeriodEvent, PlainLog

SAMPLED_POSITIONS = 25
"""Positions at which statements are counted anew; the final statements all are."""

Totals = dict[str, str]


def period_violations(log: PlainLog, plain: PlainCount, seed: int) -> list[Violation]:
    """Check every chain of statements, some statements at their position, and the last of each now."""
    chance = random.Random(f"{seed}/periods")
    positions = sorted({event.position for events in log.periods.values() for _, event in events})
    sampled = set(chance.sample(positions, min(SAMPLED_POSITIONS, len(positions))))
    found: list[str] = []
    for stream, events in log.periods.items():
        found += [f"{stream}: {text}" for text in _chain_faults(events)]
        for said, (_, event) in zip(_totals(events), events, strict=True):
            if event.position in sampled:
                found += _wrong(stream, event, said, plain, event.position)
    return broken(Law.PERIODS, [*found, *unsettled(log, plain)])


def unsettled(log: PlainLog, plain: PlainCount) -> list[str]:
    """Periods whose last statement is not what the log says now, or that were never closed."""
    at = log.head
    found: list[str] = []
    for stream, events in log.periods.items():
        *_, said = _totals(events)
        found += _wrong(stream, events[-1][1], said, plain, at)
    closed = {(event.subject, from_timestamp(event.start_at)) for events in log.periods.values() for _, event in events}
    for event in plain.counting(at):
        month = event.at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        if (event.subject, month) not in closed:
            found.append(f"{event.subject} has usage in {month:%Y-%m}, which is not closed")
    return found


def _chain_faults(events: Sequence[tuple[int, PeriodEvent]]) -> list[str]:
    found = []
    totals: Totals = {}
    before = 0
    for number, (position, event) in enumerate(events):
        if isinstance(event, UsagePeriodClosed) != (number == 0):
            found.append(f"event {number} is a {type(event).__name__}")
        elif not isinstance(event, UsagePeriodClosed):
            old = {each.meter: each.old_quantity for each in event.totals}
            if (event.restatement, event.previous_position) != (number, before):
                found.append(f"restatement {event.restatement} from {event.previous_position} follows {number - 1}")
            if old != {meter: totals.get(meter, "") for meter in old}:
                found.append(f"restatement {number} says {old} was before, but that was {totals}")
        if not before < event.position < position:
            found.append(f"event {number} at {position} is counted to {event.position}, the one before to {before}")
        totals, before = _after(totals, event), event.position
    return found


def _totals(events: Sequence[tuple[int, PeriodEvent]]) -> list[Totals]:
    """What is said after each event."""
    totals: Totals = {}
    said = []
    for _, event in events:
        totals = _after(totals, event)
        said.append(totals)
    return said


def _after(totals: Totals, event: PeriodEvent) -> Totals:
    if isinstance(event, UsagePeriodClosed):
        return {each.meter: each.quantity for each in event.totals}
    changed = {**totals, **{each.meter: each.new_quantity for each in event.totals}}
    return {meter: quantity for meter, quantity in changed.items() if quantity}


def _wrong(stream: str, event: PeriodEvent, said: Totals, plain: PlainCount, at: int) -> list[str]:
    start, end = from_timestamp(event.start_at), from_timestamp(event.end_at)
    counted = {slug: plain.total(slug, at, event.subject, start, end) for slug in plain.meters(at)}
    expected = {slug: quantity for slug, quantity in counted.items() if quantity is not None}
    if said == expected:
        return []
    meters = [slug for slug in sorted(said.keys() | expected.keys()) if said.get(slug) != expected.get(slug)]
    shown = ", ".join(f"{slug} is {said.get(slug)}, should be {expected.get(slug)}" for slug in meters[:3])
    return [f"{stream} as of {event.position}, at {at}: {shown}"]
