"""What clients of a log did and were told, as values: the input of the checker."""

from dataclasses import dataclass
from enum import StrEnum

from services.eventstore.event import ANY_VERSION


class Outcome(StrEnum):
    """How an attempt to append ended, as its client saw it."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    """WrongExpectedVersion: definitely not written."""
    TURNED_AWAY = "turned_away"
    """Overloaded: never taken on."""
    UNKNOWN = "unknown"
    """Unavailable, TimedOut, or the client died before it heard: written or not, but whole."""
    UNFORESEEN = "unforeseen"
    """An error that the port does not promise."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an acknowledged client was told: place of the last event, and a leaf for each event, in hex."""

    position: int
    version: int
    recorded_at_us: int
    leaves: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of append. Instants are nanoseconds of one clock over all processes; event ids are hex.

    `ended_ns` is None when nobody lived to see the end. `detail` is the version that a refusal named, or an error.
    """

    client: str
    stream: str
    expected: int
    ids: tuple[str, ...]
    invoked_ns: int
    ended_ns: int | None
    outcome: Outcome
    answer: Answer | None = None
    detail: str = ""

    @property
    def is_recognisable(self) -> bool:
        """Whether the store knows a repeat of it again."""
        return self.expected != ANY_VERSION


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a subscription yielded: events as (position, id), none for CaughtUp, and how far the log was read."""

    events: tuple[tuple[int, str], ...]
    position: int


@dataclass(frozen=True, slots=True)
class Session:
    """One life of a subscription; the next life of the same client goes on where this one ended."""

    client: str
    categories: frozenset[str]
    after: int
    deliveries: tuple[Delivery, ...]

    @property
    def reached(self) -> int:
        """The position up to which its client has the log."""
        return self.deliveries[-1].position if self.deliveries else self.after


@dataclass(frozen=True, slots=True)
class HeadRead:
    """A client asked for the end of the log."""

    client: str
    invoked_ns: int
    ended_ns: int
    position: int


@dataclass(frozen=True, slots=True)
class StreamRead:
    """A client read the first `limit` events of a stream."""

    client: str
    stream: str
    limit: int
    invoked_ns: int
    ended_ns: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A projection was folded anew beside the live one, and both were compared."""

    client: str
    position: int
    is_equal: bool


@dataclass(frozen=True, slots=True)
class History:
    """All that the clients of one log did; attempts and sessions of one client in the order in which it made them."""

    attempts: tuple[Attempt, ...] = ()
    sessions: tuple[Session, ...] = ()
    head_reads: tuple[HeadRead, ...] = ()
    stream_reads: tuple[StreamRead, ...] = ()
    rebuilds: tuple[Rebuilt, ...] = ()

    @property
    def operations(self) -> int:
        """How much was done, counted in calls and deliveries."""
        calls = len(self.attempts) + len(self.head_reads) + len(self.stream_reads) + len(self.rebuilds)
        return calls + sum(len(session.deliveries) for session in self.sessions)

    def joined(self, other: "History") -> "History":
        """Both histories, this one first."""
        return History(
            self.attempts + other.attempts,
            self.sessions + other.sessions,
            self.head_reads + other.head_reads,
            self.stream_reads + other.stream_reads,
            self.rebuilds + other.rebuilds,
        )
