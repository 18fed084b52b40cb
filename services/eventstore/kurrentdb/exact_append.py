"""One append behind an exact version: sent, and when its outcome is unknown, looked for before it is sent again.

What is sent again is the very same: the same list, the same ids, the same instant. A first copy that arrives late then
either is the append, or fails on its expected version.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Event as Signal
from uuid import UUID

from kurrentdbclient import NewEvent as ServerEvent
from kurrentdbclient import StreamState
from kurrentdbclient.exceptions import WrongCurrentVersionError

from services.eventstore.audit.chain import leaf_hashes
from services.eventstore.event import NO_STREAM, Appended, NewEvent, RecordedEvent, StreamName, WrongExpectedVersion
from services.eventstore.kurrentdb import read
from services.eventstore.kurrentdb.connection import KurrentConnection
from services.eventstore.kurrentdb.errors import is_passing
from services.eventstore.kurrentdb.session import Session
from services.eventstore.kurrentdb.stored_event import server_events
from services.kernel.clock import epoch_us, monotonic_s
from services.kernel.errors import DomainError, Unavailable
from services.kernel.failpoint import fail_at

Outcome = Appended | WrongExpectedVersion


@dataclass(frozen=True, slots=True)
class ExactAppend:
    """An append with its leaves, as often as it is sent."""

    stream: StreamName
    expected_version: int
    events: Sequence[NewEvent]
    recorded_at: datetime
    leaves: tuple[bytes, ...]
    sent: Sequence[ServerEvent]

    @staticmethod
    def of(
        stream: StreamName, expected_version: int, events: Sequence[NewEvent], recorded_at: datetime
    ) -> "ExactAppend":
        """Hash the events and give them the ids of this write."""
        leaves = leaf_hashes(stream, expected_version + 1, events, epoch_us(recorded_at))
        sent = server_events(events, leaves, recorded_at)
        return ExactAppend(stream, expected_version, events, recorded_at, leaves, sent)

    def is_repeated_by(self, standing: Sequence[RecordedEvent]) -> bool:
        """Whether these events stand there, whoever wrote them."""
        return [event.id for event in standing] == [event.id for event in self.events]

    def is_written_as(self, write_ids: Sequence[UUID]) -> bool:
        """Whether it is this very write that stands there."""
        return list(write_ids) == [event.id for event in self.sent]


def write(
    connection: KurrentConnection, append: ExactAppend, give_up_at_s: float, *, repeats_count: bool = True
) -> Outcome:
    """Where the events stand, or that others stand there; with `repeats_count`, an earlier write of them is as good.

    Raises Unavailable when that cannot be told until `give_up_at_s`: the outcome is then unknown.
    """
    return _Writing(connection, append, repeats_count).outcome(give_up_at_s)


@dataclass(frozen=True, slots=True)
class _Writing:
    connection: KurrentConnection
    append: ExactAppend
    repeats_count: bool

    def outcome(self, give_up_at_s: float) -> Outcome:
        limits = self.connection.limits
        try:
            return self._first()
        except DomainError as error:
            cause = _passing(error)
        for pause in limits.pauses(limits.append_attempts_max):
            if monotonic_s() + pause > give_up_at_s:
                break
            Signal().wait(pause)
            try:
                return self._again()
            except DomainError as error:
                cause = _passing(error)
        raise Unavailable(f"{cause.message}; the outcome is unknown: repeat the very same append", reason=cause.reason)

    def _first(self) -> Outcome:
        """A first success is this write: no other write has its ids."""
        fail_at("append.before_write")
        with self.connection.calling() as session:
            actual = self._sent(session)
            if isinstance(actual, int):
                return self._refused(session, actual)
        fail_at("append.after_commit")
        return actual

    def _again(self) -> Outcome:
        with self.connection.calling() as session:
            standing = self._standing(session)
            if standing is not None:
                return standing
            actual = self._sent(session)
            if isinstance(actual, int):
                return self._refused(session, actual)
            # The position of a success that may be a repeat is the server's business: what stands there is ours.
            return self._standing(session) or actual

    def _sent(self, session: Session) -> Appended | int:
        """The answer, or the version that the stream is at instead of the expected one."""
        append = self.append
        try:
            timeout_s = self.connection.call_timeout_s
            position = session.append(append.stream, append.expected_version, append.sent, timeout_s)
        except WrongCurrentVersionError as error:
            actual = error.actual_version
            return NO_STREAM if actual is None or isinstance(actual, StreamState) else actual
        version = append.expected_version + len(append.events)
        return Appended(position, version, append.recorded_at, append.leaves)

    def _refused(self, session: Session, actual: int) -> Outcome:
        """Another version than expected: what stands behind the expected one may still be these very events."""
        refusal = WrongExpectedVersion(self.append.stream, self.append.expected_version, actual)
        return refusal if actual <= self.append.expected_version else self._standing(session) or refusal

    def _standing(self, session: Session) -> Outcome | None:
        """What stands behind the expected version: this append, or others; None when nothing stands there yet."""
        append, timeout_s = self.append, self.connection.call_timeout_s
        found = read.standing(session, append.stream, append.expected_version + 1, len(append.events), timeout_s)
        if not found:
            return None
        events = [event for _, event in found]
        is_there = append.is_written_as([write_id for write_id, _ in found])
        if is_there or (self.repeats_count and append.is_repeated_by(events)):
            last = events[-1]
            return Appended(last.position, last.version, last.recorded_at, tuple(event.leaf for event in events))
        actual = read.newest_version(session, append.stream, timeout_s)
        return WrongExpectedVersion(append.stream, append.expected_version, actual)


def _passing(error: DomainError) -> DomainError:
    """The error, when the append is worth another try; raises it otherwise."""
    if not is_passing(error):
        raise error
    return error
