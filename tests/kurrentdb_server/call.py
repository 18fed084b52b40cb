"""One call as its handler sees it: who asks, whether this node may answer, and when the caller is gone."""

import base64
import binascii
import threading
from collections.abc import Callable
from typing import NoReturn, TypeVar

import grpc

from tests.kurrentdb_server.faults import Fault
from tests.kurrentdb_server.node import Node
from tests.kurrentdb_server.refusal import (
    Refusal,
    access_denied,
    connection_lost,
    no_leader,
    not_leader,
    not_ready,
    stream_reset,
    timed_out,
    unauthenticated,
)

# A caller without a deadline is let go after this long.
SILENCE_MAX_S = 600.0
SYSTEM_PREFIX = "$"

Done = TypeVar("Done")


class Call:
    """Wraps the context of one call; every method raises Refusal where the server would refuse."""

    def __init__(self, node: Node, context: grpc.ServicerContext, name: str) -> None:
        node.calls[name] += 1
        self._node = node
        self._context = context
        self._cuts = node.cuts
        self._gone = threading.Event()
        context.add_callback(self._leave)
        self._headers = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}

    @property
    def is_connected(self) -> bool:
        """Whether somebody still waits for the answer."""
        return not self._gone.is_set() and self._context.is_active()

    @property
    def is_wanted(self) -> bool:
        """Whether to go on: somebody waits, and the server did not cut its subscriptions since."""
        return self.is_connected and self._node.cuts == self._cuts

    def authorize(self, stream: str) -> None:
        """Wrong credentials are refused; the whole log and system streams are for the administrator."""
        users = self._node.options.users
        if not users:
            return
        user = self.authenticate()
        if stream.startswith(SYSTEM_PREFIX) and user != next(iter(users)):
            raise access_denied()

    def authenticate(self) -> str:
        """The name of the user; empty for nobody in particular."""
        users = self._node.options.users
        header = self._headers.get("authorization", "")
        if not users or not header:
            return ""
        user, password = _credentials(header)
        if users.get(user) != password:
            raise unauthenticated()
        return user

    def require_leader(self) -> None:
        """Refuse what only the leader may answer, when this node is another and the caller insists."""
        if self._headers.get("requires-leader", "").lower() == "true":
            self._refuse_unless_leader()

    def commit(self, work: Callable[[], Done]) -> Done:
        """Do it on the leader, with whatever fault is switched on for it.

        A slow commit happens even when the caller has gone in the meantime; not when the server has.
        """
        self._delay()
        self.require_leader()
        self._strike_before_commit()
        done = work()
        self._strike_after_commit()
        return done

    def fall_silent(self) -> NoReturn:
        """Answer nothing until the caller gives up."""
        self._gone.wait(SILENCE_MAX_S)
        raise connection_lost()

    def end(self, refusal: Refusal) -> NoReturn:
        """End the call with that status."""
        self._context.set_trailing_metadata(refusal.metadata)
        self._context.abort(refusal.code, refusal.details)
        raise refusal

    def _leave(self) -> None:
        self._gone.set()
        self._node.log.wake()

    def _refuse_unless_leader(self) -> None:
        leader = self._node.leader()
        if leader is None:
            raise no_leader()
        if leader is not self._node:
            raise not_leader(leader.host, leader.port)

    def _delay(self) -> None:
        delay_s = self._node.faults.strike(Fault.SLOW_COMMIT)
        if delay_s is not None:
            threading.Event().wait(delay_s)
        if not self._node.is_alive:
            raise connection_lost()

    def _strike_before_commit(self) -> None:
        strike = self._node.faults.strike
        if strike(Fault.NOT_LEADER) is not None:
            leader = self._node.leader() or self._node
            raise not_leader(leader.host, leader.port)
        if strike(Fault.NOT_READY) is not None:
            raise not_ready()
        if strike(Fault.UNAVAILABLE_BEFORE_COMMIT) is not None:
            raise connection_lost()
        if strike(Fault.RESET_BEFORE_COMMIT) is not None:
            raise stream_reset()
        if strike(Fault.TIMEOUT_BEFORE_COMMIT) is not None:
            raise timed_out("Prepare phase timeout.")
        if strike(Fault.SILENT_BEFORE_COMMIT) is not None:
            self.fall_silent()

    def _strike_after_commit(self) -> None:
        strike = self._node.faults.strike
        if strike(Fault.UNAVAILABLE_AFTER_COMMIT) is not None:
            raise connection_lost()
        if strike(Fault.RESET_AFTER_COMMIT) is not None:
            raise stream_reset()
        if strike(Fault.TIMEOUT_AFTER_COMMIT) is not None:
            raise timed_out("Commit phase timeout.")
        if strike(Fault.SILENT_AFTER_COMMIT) is not None:
            self.fall_silent()


def _credentials(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme != "Basic":
        raise unauthenticated()
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise unauthenticated() from error
    return user, password
