"""Backfills: what can be decided about one, as pure functions. Stream: backfill-<key>."""

from dataclasses import dataclass, replace
from typing import TypeAlias

from meterlog.events.v1.correction_pb2 import BackfillClosed, BackfillOpened, BackfillReverted
from services.aggregator.corrections.backfill_rows import BackfillEvent, no_backfill
from services.aggregator.corrections.decision import Decision, require_decision
from services.eventstore.decider import Decider
from services.eventstore.event import StreamName
from services.kernel.errors import AlreadyExists, RuleViolated

CATEGORY = "backfill"


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill as its stream says; open until it is closed or reverted."""

    opened: BackfillOpened
    closed: BackfillClosed | None = None
    reverted: BackfillReverted | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """Open a backfill that says this."""

    event: BackfillOpened


@dataclass(frozen=True, slots=True)
class Close:
    """Close a backfill with these counts."""

    event: BackfillClosed


@dataclass(frozen=True, slots=True)
class RevertBackfill:
    """Revert a backfill, open or closed."""

    key: str
    decision: Decision


BackfillCommand: TypeAlias = Open | Close | RevertBackfill


def backfill_stream(key: str) -> StreamName:
    """Where the events of a backfill stand."""
    return StreamName(CATEGORY, key)


def is_closable(key: str, backfill: Backfill | None) -> bool:
    """Whether there is something to close; not when it was done already.

    Raises NotFound, and RuleViolated (BACKFILL_REVERTED).
    """
    if backfill is None:
        raise no_backfill(key)
    if backfill.reverted is not None:
        raise RuleViolated(
            f'backfill "{key}" was reverted, which is for ever; load its usage into another one',
            reason="BACKFILL_REVERTED",
        )
    return backfill.closed is None


def _decide(command: BackfillCommand, backfill: Backfill | None) -> list[BackfillEvent]:
    match command:
        case Open():
            return _open(command.event, backfill)
        case Close():
            return [command.event] if is_closable(command.event.key, backfill) else []
        case RevertBackfill():
            return _revert(command, backfill)


def _open(event: BackfillOpened, backfill: Backfill | None) -> list[BackfillEvent]:
    if backfill is None:
        return [event]
    if _content(backfill.opened) != _content(event):
        raise AlreadyExists(
            f'backfill "{event.key}" exists with other content; choose another key', reason="BACKFILL_EXISTS"
        )
    return []


def _content(event: BackfillOpened) -> bytes:
    """All but when it was decided, and with which API key."""
    content = BackfillOpened()
    content.CopyFrom(event)
    content.decision.ClearField("decided_at")
    content.decision.ClearField("key_name")
    return bytes(content.SerializeToString(deterministic=True))


def _revert(command: RevertBackfill, backfill: Backfill | None) -> list[BackfillEvent]:
    if backfill is None:
        raise no_backfill(command.key)
    if backfill.reverted is not None:
        return []
    return [BackfillReverted(key=command.key, decision=require_decision(command.decision).stored())]


def _evolve(backfill: Backfill | None, event: BackfillEvent) -> Backfill:
    if isinstance(event, BackfillOpened):
        return Backfill(event)
    assert backfill is not None, "a backfill's stream begins with its opening"
    if isinstance(event, BackfillClosed):
        return replace(backfill, closed=event)
    return replace(backfill, reverted=event)


BACKFILL: Decider[BackfillCommand, Backfill | None, BackfillEvent] = Decider(None, _decide, _evolve)
