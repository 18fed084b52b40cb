"""Names the event that a fold failed at, so that an operator knows what to look at and what to decide about."""

from collections.abc import Sequence
from types import TracebackType
from typing import Final

from sqlalchemy.exc import DatabaseError, InterfaceError, InternalError, OperationalError

from services.eventstore.event import RecordedEvent
from services.kernel.errors import Conflict, DomainError, Overloaded, RuleViolated, TimedOut, Unavailable

_OUR_OWN_TROUBLE: Final = (Conflict, Overloaded, TimedOut, Unavailable, MemoryError)
_THE_DATABASES: Final = (OperationalError, InterfaceError, InternalError)


class CannotFold(RuleViolated):
    """A fold refused events. When it is only one, `events` names the culprit."""

    default_reason = "EVENT_CANNOT_BE_FOLDED"

    def __init__(self, projection: str, events: Sequence[RecordedEvent], why: str, *, reason: str = "") -> None:
        """`why` says what is wrong and what to do, as a part of a sentence."""
        first = events[0]
        super().__init__(
            f'"{projection}" cannot fold position {first.position} ({first.type} version {first.schema_version}, '
            f'stream "{first.stream}"): {why}',
            reason=reason,
            metadata={"projection": projection, "position": str(first.position), "type": first.type},
        )
        self.events = tuple(events)
        self.why = why


class Blame:
    """Around the fold of `events`: what it raises becomes CannotFold, unless the events cannot be blamed for it."""

    def __init__(self, projection: str, events: Sequence[RecordedEvent]) -> None:
        self._projection = projection
        self._events = events

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, Exception) and not isinstance(error, CannotFold) and not _is_trouble_of_ours(error):
            raise CannotFold(self._projection, self._events, _told(error)) from error


def _is_trouble_of_ours(error: Exception) -> bool:
    """Whether the disk, the database or another process is the cause, and not what the event holds."""
    return isinstance(error, (*_OUR_OWN_TROUBLE, *_THE_DATABASES)) or type(error) is DatabaseError


def _told(error: Exception) -> str:
    return error.message if isinstance(error, DomainError) else f"{type(error).__name__}: {error}".rstrip(": ")
