"""Runs commands against the store, and returns once the books show what they did."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from google.protobuf.message import Message

from services.eventstore.decider import Decider, handle, load
from services.eventstore.event import Appended, StreamName
from services.eventstore.store import EventStore
from services.kernel.clock import Clock
from services.projection.runner import ProjectionRunner
from services.rating.readmodel.tables import BillingTables

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E", bound=Message)


@dataclass(frozen=True, slots=True)
class Desk:
    """The store to write to, the books to read from, and the clock to go by."""

    store: EventStore
    books: ProjectionRunner[BillingTables]
    clock: Clock

    def now(self) -> datetime:
        """The instant that counts as now."""
        return self.clock.now()

    def load(self, decider: Decider[C, S, E], stream: StreamName) -> S:
        """The state of a stream as it stands in the log, ahead of the books."""
        return load(self.store, decider, stream)

    def run(self, decider: Decider[C, S, E], stream: StreamName, command: C, timeout_s: float) -> S:
        """The state after the command; whoever asks next reads it, also when an earlier repeat caused it.

        Raises what the rules raise. TimedOut means that the command is done and the books lag; repeat it.
        """
        outcome = handle(self.store, decider, stream, command, self.now())
        self.settle(outcome.appended, timeout_s)
        return outcome.state

    def settle(self, appended: Appended | None, timeout_s: float) -> None:
        """Return when the books show an append, or, where nothing was left to append, all that stands now."""
        position = appended.position if appended else self.store.head().position
        self.books.wait_for(position, timeout_s)
