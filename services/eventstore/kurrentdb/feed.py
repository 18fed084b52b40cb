"""The events of a subscription as the server pushes them, across cuts: each once, in log order, none left out.

A thread of its own reads them into a bounded buffer, because a push from the server cannot be waited for with a
timeout. When the subscription is cut, it is opened again behind the newest event in the buffer, and what the server
then repeats is dropped. Versions of a stream have no gaps: a gap means that the server left an event out.
"""

import logging
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from threading import Event as Signal
from typing import TYPE_CHECKING

from services.eventstore.event import Position, RecordedEvent
from services.eventstore.kurrentdb.connection import KurrentConnection
from services.eventstore.kurrentdb.errors import INTERRUPTED, is_passing
from services.eventstore.kurrentdb.feed_buffer import FeedBuffer, Taken
from services.eventstore.kurrentdb.read import is_wanted
from services.eventstore.kurrentdb.session import Session
from services.eventstore.kurrentdb.stored_event import recorded_event
from services.eventstore.kurrentdb.stream_versions import StreamVersions
from services.kernel.clock import monotonic_s
from services.kernel.errors import Corrupt, DomainError, Unavailable

if TYPE_CHECKING:
    from kurrentdbclient.streams import CatchupSubscription

_log = logging.getLogger(__name__)


class _EventLeftOut(Exception):
    """A version of a stream was not pushed."""


class Feed:
    """A filtered subscription to the whole log, held open by a thread. For one reader."""

    def __init__(self, connection: KurrentConnection, after: Position, categories: Collection[str]) -> None:
        self._connection = connection
        self._categories = categories
        self._buffer = FeedBuffer(after, connection.limits.feed_events_max)
        self._versions = StreamVersions()
        self._last = after
        self._resume = after
        self._failures = 0
        self._left_out: RecordedEvent | None = None
        self._heard_at_s = monotonic_s()
        self._is_closed = Signal()
        self._session: Session | None = None
        self._pushed: CatchupSubscription | None = None

    @contextmanager
    def opened(self) -> "Iterator[Feed]":
        """Subscribe now, and let go at the end."""
        threading.Thread(target=self._run, name="kurrentdb-subscription", daemon=True).start()
        try:
            yield self
        finally:
            self._is_closed.set()
            self._buffer.close()
            pushed = self._pushed
            if pushed is not None:
                pushed.stop(cancel=True)

    def take(self, count_max: int, wait_s: float, stop: Signal) -> Taken:
        """As `FeedBuffer.take`."""
        return self._buffer.take(count_max, wait_s, stop)

    def restart(self, symptom: str) -> None:
        """Subscribe again, on another connection; whoever is silent gets as long again to be heard."""
        _log.warning("a subscription %s; subscribing again", symptom)
        self._heard_at_s = monotonic_s()
        session = self._session
        if session is not None:
            self._connection.drop(session)

    def is_silent(self, for_s: float) -> bool:
        """Whether the server has sent nothing for so long, not even how far it searched."""
        return monotonic_s() - self._heard_at_s > for_s

    def _run(self) -> None:
        try:
            self._follow_across_cuts()
        finally:
            self._buffer.fail(Unavailable("a subscription to KurrentDB ended unforeseen; subscribe again"))

    def _follow_across_cuts(self) -> None:
        pauses = list(self._connection.limits.pauses(self._connection.limits.subscribe_attempts_max))
        while not self._is_closed.is_set():
            try:
                self._follow()
            except _EventLeftOut:
                self._begin_again()
            except DomainError as error:
                if not is_passing(error) or self._failures == len(pauses):
                    self._buffer.fail(error)
                    return
                _log.info("a subscription was interrupted, it goes on: %s", error.message)
                self._is_closed.wait(pauses[self._failures])
                self._failures += 1

    def _follow(self) -> None:
        """Read what is pushed until it ends; it always ends with an error, unless the feed was closed."""
        self._buffer.go_back()
        with self._connection.calling() as session:
            self._session = session
            self._heard_at_s = monotonic_s()
            with session.subscribe(self._resume, self._categories) as pushed:
                self._pushed = pushed
                if not self._is_closed.is_set():
                    self._take_in(pushed)
        if not self._is_closed.is_set():
            raise Unavailable("KurrentDB ended a subscription; it is opened again", reason=INTERRUPTED)

    def _take_in(self, pushed: "CatchupSubscription") -> None:
        for told in pushed:
            self._heard_at_s = monotonic_s()
            self._failures = 0
            if told.is_caught_up:
                self._buffer.go_live()
            elif told.is_checkpoint:
                self._resume = Position(max(self._resume, told.commit_position))
            elif not self._is_accepted(recorded_event(told)):
                return

    def _is_accepted(self, event: RecordedEvent) -> bool:
        """Keep the event unless it was there before; False when nobody takes events any more."""
        if event.position <= self._last or not is_wanted(event, self._categories):
            return not self._is_closed.is_set()
        if not self._versions.follows(event):
            self._require_first_time(event)
            raise _EventLeftOut
        self._last = self._resume = event.position
        return self._buffer.put(event)

    def _require_first_time(self, event: RecordedEvent) -> None:
        """A gap that is still there after beginning again is one of the log, or lies behind what was taken already."""
        if self._left_out == event:
            raise Corrupt(
                f'position {event.position}: stream "{event.stream}" goes on with version {event.version}, but the one '
                "before was not delivered; it was deleted, or the server left it out: rebuild the projection"
            )
        self._left_out = event

    def _begin_again(self) -> None:
        _log.warning(
            "KurrentDB left an event out of a subscription; reading again from position %s", self._buffer.taken_to
        )
        self._buffer.forget()
        self._last = self._resume = self._buffer.taken_to
