"""The connection of a store to KurrentDB: made when first needed, and made anew when it turns out to be dead.

A leader that was deposed, a node that went down and a peer that fell silent all end here: the session is dropped, and
the next call gets a new one, to the leader that the server named or to whatever the URL leads to by then.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event as Signal
from typing import TypeVar

from kurrentdbclient.exceptions import (
    DeadlineExceededError,
    KurrentDBClientError,
    NodeIsNotLeaderError,
    ServiceUnavailableError,
)

from services.eventstore.kurrentdb.address import Address
from services.eventstore.kurrentdb.errors import INTERRUPTED, NO_ANSWER, domain_error, is_passing
from services.eventstore.kurrentdb.limits import KurrentLimits
from services.eventstore.kurrentdb.session import Session
from services.kernel.clock import monotonic_s
from services.kernel.errors import DomainError, InvalidInput, Unavailable

Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)


class KurrentConnection:
    """At most one session at a time, shared by all threads of a store."""

    def __init__(self, address: Address, limits: KurrentLimits) -> None:
        """Connects to nothing yet."""
        self.address = address
        self.limits = limits
        self._changing = threading.Lock()
        self._searching = threading.Lock()
        self._failed: tuple[float, Unavailable] | None = None
        self._session: Session | None = None
        self._leader: str | None = None
        self._answered_at_s = monotonic_s()
        self._is_closed = False

    @property
    def call_timeout_s(self) -> float:
        """The deadline of a call: the URL's, else the limit."""
        return self.address.deadline_s or self.limits.call_timeout_s

    @contextmanager
    def calling(self) -> Iterator[Session]:
        """The session for one call; the client's errors come out as DomainErrors, and a dead session is dropped.

        Raises Unavailable when there is no connection to be had, and when the store is closed.
        """
        session = self._current()
        try:
            yield session
        except KurrentDBClientError as error:
            self._judge(session, error)
            if self._is_closed:
                raise _closed() from error
            raise domain_error(error, self.address.nodes) from error
        except ValueError as error:
            # The channel's own way of telling that another thread has dropped this session meanwhile.
            if "closed" not in str(error).lower():
                raise
            self.drop(session)
            if self._is_closed:
                raise _closed() from error
            raise Unavailable(
                f"KurrentDB at {self.address.nodes} was connected anew; repeat", reason=INTERRUPTED
            ) from error
        self._answered_at_s = monotonic_s()

    def answered(self, question: Callable[[Session], Answer], give_up_at_s: float | None = None) -> Answer:
        """Ask, and ask again while the failure is one that passes; `question` must be a read.

        Not again after `give_up_at_s` on the monotonic clock; without it, not after `read_total_s`.
        """
        give_up_at_s = give_up_at_s or monotonic_s() + self.limits.read_total_s
        for pause in self.limits.pauses(self.limits.read_attempts_max - 1):
            try:
                with self.calling() as session:
                    return question(session)
            except DomainError as error:
                if not is_passing(error) or monotonic_s() + pause > give_up_at_s:
                    raise
            Signal().wait(pause)
        with self.calling() as session:
            return question(session)

    def drop(self, session: Session, leader: str | None = None) -> None:
        """Let the next call connect anew, to `leader` if given; whoever still uses `session` is cut off."""
        with self._changing:
            if self._session is session:
                self._session = None
                self._leader = leader
        session.close()

    def close(self) -> None:
        """End every call under way; later calls raise Unavailable. Safe to repeat."""
        with self._changing:
            self._is_closed = True
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _current(self) -> Session:
        """The session; a thread that waited while another searched in vain shares the outcome of that search."""
        asked_at_s = monotonic_s()
        session = self._standing()
        if session is not None:
            return session
        if not self._searching.acquire(timeout=self.call_timeout_s):
            raise Unavailable(
                f"KurrentDB at {self.address.nodes} shows no leader yet, the search goes on; repeat", reason=NO_ANSWER
            )
        try:
            return self._standing() or self._found(asked_at_s)
        finally:
            self._searching.release()

    def _standing(self) -> Session | None:
        with self._changing:
            if self._is_closed:
                raise _closed()
            return self._session

    def _found(self, asked_at_s: float) -> Session:
        """A new session, by the one thread that searches; nobody is kept from dropping or closing meanwhile."""
        if self._failed is not None and self._failed[0] >= asked_at_s:
            raise Unavailable(self._failed[1].message, reason=self._failed[1].reason)
        try:
            session = self._connected()
        except Unavailable as error:
            self._failed = monotonic_s(), error
            raise
        with self._changing:
            if not self._is_closed:
                self._session = session
                self._answered_at_s = monotonic_s()
                return session
        session.close()
        raise _closed()

    def _connected(self) -> Session:
        with self._changing:
            uri, self._leader = self._leader or self.address.uri, None
        try:
            return Session(self.address, uri)
        except KurrentDBClientError as error:
            raise domain_error(error, self.address.nodes) from error
        except OSError as error:
            raise InvalidInput(
                f"a file that the event store's URL names cannot be read: {error}", field="url"
            ) from error

    def _judge(self, session: Session, error: KurrentDBClientError) -> None:
        """Drop the session when the error says that it leads nowhere, or when nothing has come back on it for long."""
        if isinstance(error, NodeIsNotLeaderError):
            leader = self.address.node(error.host, error.port) if error.host and error.port else None
            _log.info("KurrentDB is led by another node: %s:%s", error.host, error.port)
            self.drop(session, leader)
        elif isinstance(error, ServiceUnavailableError):
            self.drop(session)
        elif isinstance(error, DeadlineExceededError) and monotonic_s() - self._answered_at_s > self.limits.stall_s:
            _log.info("KurrentDB at %s has fallen silent; connecting anew", self.address.nodes)
            self.drop(session)


def _closed() -> Unavailable:
    return Unavailable("the event store is closed; open it again", reason="EVENT_STORE_CLOSED")
