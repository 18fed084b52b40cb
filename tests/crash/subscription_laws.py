"""The laws of subscriptions: every event once, in log order, and on from the same place after each crash."""

from collections.abc import Sequence
from itertools import pairwise

from services.eventstore.event import RecordedEvent
from tests.crash.history import Session
from tests.crash.law import Law, Violation, broken


def subscription_violations(sessions: Sequence[Session], log: Sequence[RecordedEvent]) -> list[Violation]:
    """Check what each life of each subscription delivered against the final log."""
    ids = {event.position: event.id.hex for event in log}
    return [
        *broken(Law.NO_REPEAT, [text for session in sessions for text in _disorder(session)]),
        *broken(Law.TRUE_DELIVERY, [text for session in sessions for text in _untrue(session, ids)]),
        *broken(Law.NO_SKIP, [text for session in sessions for text in _skipped(session, log)]),
        *broken(Law.RESUMED, _broken_resumes(sessions)),
    ]


def _delivered(session: Session) -> list[tuple[int, str]]:
    return [event for delivery in session.deliveries for event in delivery.events]


def _disorder(session: Session) -> list[str]:
    positions = [session.after, *(position for position, _ in _delivered(session))]
    reached = [session.after, *(delivery.position for delivery in session.deliveries)]
    events = [f"{session.client} got {b} after {a}" for a, b in pairwise(positions) if b <= a]
    return events + [f"{session.client} stood at {a}, then at {b}" for a, b in pairwise(reached) if b < a]


def _untrue(session: Session, ids: dict[int, str]) -> list[str]:
    return [
        f"{session.client} got {event_id[:12]}… at {position}, where the log has {ids.get(position, 'nothing')[:12]}"
        for position, event_id in _delivered(session)
        if ids.get(position) != event_id
    ]


def _skipped(session: Session, log: Sequence[RecordedEvent]) -> list[str]:
    """At each delivery, whatever stands up to its position must have been delivered."""
    got: set[int] = set()
    wanted = iter(
        event.position
        for event in log
        if event.position > session.after and (not session.categories or event.stream.category in session.categories)
    )
    missed: list[str] = []
    next_wanted = next(wanted, None)
    for delivery in session.deliveries:
        got.update(position for position, _ in delivery.events)
        while next_wanted is not None and next_wanted <= delivery.position:
            if next_wanted not in got:
                missed.append(
                    f"{session.client} was told it has all up to {delivery.position}, never got {next_wanted}"
                )
            next_wanted = next(wanted, None)
    return missed


def _broken_resumes(sessions: Sequence[Session]) -> list[str]:
    by_client: dict[str, list[Session]] = {}
    for session in sessions:
        by_client.setdefault(session.client, []).append(session)
    return [
        f"{client} stood at {earlier.reached}, and went on from {later.after}"
        for client, lives in by_client.items()
        for earlier, later in pairwise(lives)
        if later.after != earlier.reached
    ]
