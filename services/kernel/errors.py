"""Errors that a caller can act on.

DomainError
├── InvalidInput      INVALID_ARGUMENT     fix the request, then send it again
├── Unauthenticated   UNAUTHENTICATED      send a valid key
├── NotPermitted      PERMISSION_DENIED    this key may not do this
├── NotFound          NOT_FOUND            the named thing does not exist
├── AlreadyExists     ALREADY_EXISTS       same name, other content
├── RuleViolated      FAILED_PRECONDITION  not in this state; the reason names the rule
├── Conflict          ABORTED              somebody wrote first; read, decide again, repeat
├── Overloaded        RESOURCE_EXHAUSTED   wait, then repeat
├── Unavailable       UNAVAILABLE          a part that is needed does not answer; repeat later
├── TimedOut          DEADLINE_EXCEEDED    the wait was longer than allowed
└── Corrupt           DATA_LOSS            stored bytes are not what was stored; call an operator
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that is wrong, as a dotted path, and why."""

    field: str
    description: str


class DomainError(Exception):
    """Something a caller can act on: `reason` is stable and UPPER_SNAKE, the message is for people."""

    default_reason: ClassVar[str] = "DOMAIN_ERROR"

    def __init__(self, message: str, *, reason: str = "", metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata: dict[str, str] = dict(metadata or {})


class InvalidInput(DomainError):
    """The request is malformed; `field` is a dotted path such as `plan.prices[2].tiers`."""

    default_reason = "INVALID_INPUT"

    def __init__(self, message: str, *, field: str = "", reason: str = "") -> None:
        super().__init__(message, reason=reason)
        self.field = field

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        return (FieldViolation(self.field, self.message),) if self.field else ()


class Unauthenticated(DomainError):
    """No key, or one that nobody knows."""

    default_reason = "UNAUTHENTICATED"


class NotPermitted(DomainError):
    """The key is known but lacks the scope."""

    default_reason = "NOT_PERMITTED"


class NotFound(DomainError):
    """The named thing does not exist."""

    default_reason = "NOT_FOUND"


class AlreadyExists(DomainError):
    """The name is taken by something with other content."""

    default_reason = "ALREADY_EXISTS"


class RuleViolated(DomainError):
    """The request is well formed but not allowed in this state; give `reason` the rule's name."""

    default_reason = "RULE_VIOLATED"


class Conflict(DomainError):
    """Somebody wrote first; read again and repeat."""

    default_reason = "CONFLICT"


class Overloaded(DomainError):
    """A bounded queue is full; wait and repeat."""

    default_reason = "OVERLOADED"


class Unavailable(DomainError):
    """A needed part does not answer; nothing is known to be lost; repeat later."""

    default_reason = "UNAVAILABLE"


class TimedOut(DomainError):
    """A bounded wait ended without an answer."""

    default_reason = "TIMED_OUT"


class Corrupt(DomainError):
    """Stored bytes are not what was stored."""

    default_reason = "CORRUPT"
