"""Names the event that a fold failed at, so that an operator knows what to look at and what to decide about."""

from collections.abc import Sequence
from types import TracebackType
from typing import Final

from sqlalchemy.exc import StatementError

from services.eventstore.event import RecordedEvent
from services.kernel.errors import Conflict, DomainError, Overloaded, RuleViolated, TimedOut, Unavailable

_OUR_OWN_TROUBLE: Final = (Conflict, Overloaded, TimedOut, Unavailable, MemoryError, OSError)
_OF_DATABASES: Final = ("sqlite3", "psycopg", "sqlalchemy")
_OF_ROWS: Final = ("DataError", "IntegrityError")
"""What every driver (PEP 249) raises for a row that the database does not take; its other errors are its own."""


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
    """Whether the disk, the database or another process is the cause, and not what the event holds.

    Where rows are written in bulk the driver's errors come as they are, elsewhere SQLAlchemy wraps them.
    """
    if isinstance(error, _OUR_OWN_TROUBLE):
        return True
    raised = error.orig if isinstance(error, StatementError) and error.orig is not None else error
    kinds = {kind.__name__ for kind in type(raised).__mro__ if kind.__module__.partition(".")[0] in _OF_DATABASES}
    return bool(kinds) and kinds.isdisjoint(_OF_ROWS)


def _told(error: Exception) -> str:
    return error.message if isinstance(error, DomainError) else f"{type(error).__name__}: {error}".rstrip(": ")
