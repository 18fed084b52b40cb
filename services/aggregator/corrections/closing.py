"""The event that closes a backfill: what was loaded, and what it replaces."""

from meterlog.events.v1.correction_pb2 import BackfillClosed, BackfillOpened
from services.aggregator.corrections.acting import replaced_by
from services.aggregator.corrections.backfill_rows import loaded_count
from services.aggregator.corrections.decision import Decision
from services.aggregator.corrections.hits import Target, find_hits, target_of_filter
from services.aggregator.deadline import Deadline
from services.aggregator.snapshot import UsageSnapshot
from services.kernel.errors import RuleViolated


def closing_event(
    source: UsageSnapshot, opened: BackfillOpened, expected: int, decision: Decision, deadline: Deadline
) -> BackfillClosed:
    """Counted at the snapshot's position; `expected` usage events must have been loaded, when it is not 0.

    Raises RuleViolated (EXPECTED_COUNT_DIFFERS), and TimedOut.
    """
    loaded = loaded_count(source.connection, source.tables.corrections, opened.key)
    if expected and loaded != expected:
        raise RuleViolated(
            f'{loaded} usage events were loaded for backfill "{opened.key}", not {expected}; load the others, or count '
            "again",
            reason="EXPECTED_COUNT_DIFFERS",
            metadata={"expected_count": str(expected), "loaded_count": str(loaded)},
        )
    replaced = 0
    if opened.replaces_existing:
        replaced = find_hits(source, _target(opened), source.position, deadline).count
    return BackfillClosed(
        key=opened.key,
        until_position=source.position,
        loaded_count=loaded,
        replaced_count=replaced,
        decision=decision.stored(),
    )


def _target(opened: BackfillOpened) -> Target:
    """What it replaces. Its own usage is held back until it is closed, and so does not count here."""
    return target_of_filter(replaced_by(opened))
