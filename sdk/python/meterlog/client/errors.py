"""Errors that a caller can act on.

MeterlogError
├── WrongType       TypeError    an argument of another type, such as a float quantity; fix the code
├── WrongValue      ValueError   an argument that no usage event can carry, such as a time without zone
├── QueueFull                    usage arrives faster than it is accepted; wait, then record again
├── ClientClosed                 the client was closed; nothing was queued
├── UsedAfterFork                the client belongs to the parent process; create one in the child
├── FlushTimedOut   TimeoutError answers are still outstanding; they go on being waited for
├── NotRecorded                  the usage event is not in the log; `result` says why
└── CallFailed                   a query was refused or not answered; `failure` says why

What becomes of a usage event is a result, not an error: see `meterlog.client.result`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meterlog.client.failure import Failure
    from meterlog.client.result import UsageResult


class MeterlogError(Exception):
    """Something a caller can act on."""


class WrongType(MeterlogError, TypeError):
    """An argument has a type that cannot be sent."""


class WrongValue(MeterlogError, ValueError):
    """An argument has a value that no usage event or query can carry."""


class QueueFull(MeterlogError):
    """The bounded queue has no room; the usage event was not taken."""


class ClientClosed(MeterlogError):
    """The client was closed; the usage event was not taken."""


class UsedAfterFork(MeterlogError):
    """The client was in use before the fork, so its connection and threads are the parent's."""


class FlushTimedOut(MeterlogError, TimeoutError):
    """Some usage events had no answer in time; they stay queued or on their way."""


class NotRecorded(MeterlogError):
    """The usage event is not known to be in the log."""

    def __init__(self, result: "UsageResult") -> None:
        super().__init__(f'usage event "{result.id}" of "{result.source}" is {result.outcome}: {result.message}')
        self.result = result


class CallFailed(MeterlogError):
    """A query was refused or not answered."""

    def __init__(self, failure: "Failure") -> None:
        super().__init__(f"{failure.status}: {failure.message}")
        self.failure = failure
