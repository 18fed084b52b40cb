"""Tests of a decider that read as a sentence: given(invoice, [drafted]).when(FinalizeInvoice(now)).then(finalized)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from services.eventstore.decider import Decider
from services.kernel.errors import DomainError

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E", bound=Message)


@dataclass(frozen=True, slots=True)
class When(Generic[C, S, E]):
    """A command against the state that the events before it left."""

    decider: Decider[C, S, E]
    state: S
    command: C

    def then(self, *events: E) -> S:
        """The command causes exactly these events, in this order; returns the state after them."""
        decided = self.decider.decide(self.command, self.state)
        if decided != list(events):
            raise AssertionError(f"expected {_shown(events)}, decided {_shown(decided)}")
        state = self.state
        for event in decided:
            state = self.decider.evolve(state, event)
        return state

    def then_nothing(self) -> None:
        """The command causes no event: it is done already."""
        self.then()

    def refuses(self, error: type[DomainError], reason: str = "") -> None:
        """The command is refused with this very error, and, when given, this reason."""
        try:
            decided = self.decider.decide(self.command, self.state)
        except DomainError as refusal:
            if type(refusal) is not error or (reason and refusal.reason != reason):
                raise AssertionError(f"refused with {type(refusal).__name__} {refusal.reason}: {refusal}") from refusal
            return
        raise AssertionError(f"expected {error.__name__}, decided {_shown(decided)}")


@dataclass(frozen=True, slots=True)
class Given(Generic[C, S, E]):
    """A stream with these events."""

    decider: Decider[C, S, E]
    events: tuple[E, ...]

    def when(self, command: C) -> When[C, S, E]:
        """Ask the decider what the command does now."""
        return When(self.decider, self.decider.fold(self.events), command)


def given(decider: Decider[C, S, E], events: Sequence[E] = ()) -> Given[C, S, E]:
    """A stream with these events, oldest first."""
    return Given(decider, tuple(events))


def _shown(events: Sequence[Message]) -> str:
    if not events:
        return "nothing"
    return "\n".join(f"{type(event).__name__} {{ {str(event).strip()} }}".replace("\n", ", ") for event in events)
