"""Appends what is said about periods: closings, and restatements of what was closed."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import cast

from services.aggregator.periods.period import PERIOD, PeriodEvent, PeriodUsage, StatePeriod, period_stream
from services.eventstore.catalogue import decode, encode
from services.eventstore.decider import read_whole_stream
from services.eventstore.event import BEGINNING, NO_STREAM, Appended, Position, StreamName, WrongExpectedVersion
from services.eventstore.store import APPEND_TIMEOUT_S, EventStore

Pending = list[Future[Appended]]


def close_counted(store: EventStore, counted: Sequence[PeriodUsage], now: datetime) -> list[Position]:
    """Append one closing each, in one commit where the store can; returns where they stand.

    Where somebody else has closed the period already, that closing stands, and none is returned for it.
    """
    pending = []
    for usage in counted:
        stream = period_stream(usage.subject, usage.kind, usage.span)
        (closing,) = PERIOD.decide(StatePeriod(usage, now), None)
        pending.append(_submit(store, stream, closing, NO_STREAM, now))
    return list(_positions(pending))


def restate_counted(store: EventStore, counted: Sequence[PeriodUsage], now: datetime) -> list[Position]:
    """Append a restatement of each closed period whose totals differ from what was said last; returns where they stand.

    What somebody said while the usage was counted stands, and none is returned for it: it is known to have been counted
    to an earlier position, and so the period is looked at again.
    """
    pending = []
    for usage in counted:
        stream = period_stream(usage.subject, usage.kind, usage.span)
        history = read_whole_stream(store, stream)
        if not history or history[-1].position > usage.position:
            continue
        stated = PERIOD.fold(cast(PeriodEvent, decode(recorded)) for recorded in history)
        decided = PERIOD.decide(StatePeriod(usage, now), stated)
        pending += [_submit(store, stream, restatement, history[-1].version, now) for restatement in decided]
    return list(_positions(pending))


def last_of(positions: Sequence[Position]) -> Position:
    """The last of these positions; the beginning of the log when there is none."""
    return max(positions, default=BEGINNING)


def _submit(
    store: EventStore, stream: StreamName, event: PeriodEvent, expected: int, now: datetime
) -> Future[Appended]:
    return store.submit(stream, [encode(event, stream, expected + 1, now)], expected)


def _positions(pending: Pending) -> Iterator[Position]:
    for outcome in pending:
        try:
            yield outcome.result(APPEND_TIMEOUT_S).position
        except WrongExpectedVersion:
            continue
