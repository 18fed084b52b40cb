"""A KurrentDB server for tests: the real protocol over TCP, everything it keeps in one log."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc

from tests.kurrentdb_server.elastic_pool import shared_pool
from tests.kurrentdb_server.event_log import EventLog
from tests.kurrentdb_server.face import handlers
from tests.kurrentdb_server.faults import Faults
from tests.kurrentdb_server.node import Membership, Node
from tests.kurrentdb_server.options import RECORD_BYTES_MAX, Options

STOP_TIMEOUT_S = 10.0

SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", RECORD_BYTES_MAX),
    # The real server lets clients ping as often as they like.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)


class PortTaken(Exception):
    """Somebody else listens there."""


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate and its key, both as PEM."""

    certificate: bytes
    key: bytes


class KurrentServer:
    """One node. Stop it and start it again: port and log stay, the memory of recent ids is lost.

    As a context manager it starts at the beginning and stops at the end. Nodes that are given the same `log` and
    `membership` are one cluster; the first of them leads it until another is elected.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        log: EventLog | None = None,
        options: Options | None = None,
        faults: Faults | None = None,
        membership: Membership | None = None,
        tls: Tls | None = None,
    ) -> None:
        self.node = Node(log or EventLog(), options or Options(), faults or Faults(), membership or Membership())
        self.node.port = port
        self._tls = tls
        self._grpc: grpc.Server | None = None
        self.node.membership.nodes.append(self.node)
        if self.node.membership.leader is None:
            self.node.membership.leader = self.node

    @property
    def faults(self) -> Faults:
        """What goes wrong; change it at any time."""
        return self.node.faults

    @property
    def log(self) -> EventLog:
        """Everything that was ever appended."""
        return self.node.log

    @property
    def calls(self) -> dict[str, int]:
        """How often each method was called."""
        return dict(self.node.calls)

    @property
    def port(self) -> int:
        """Where it listens; 0 before the first start."""
        return self.node.port

    @property
    def target(self) -> str:
        """Host and port."""
        return f"{self.node.host}:{self.node.port}"

    @property
    def url(self) -> str:
        """What a client connects to; with the administrator's credentials over TLS."""
        if self._tls is None:
            return f"kurrentdb://{self.target}?Tls=false"
        user, password = next(iter(self.node.options.users.items()), ("admin", "changeit"))
        return f"kurrentdb://{user}:{password}@{self.target}"

    def start(self) -> None:
        """Listen; raises PortTaken."""
        server = grpc.server(shared_pool(), handlers=handlers(self.node), options=SERVER_OPTIONS)
        address = f"{self.node.host}:{self.node.port}"
        try:
            self.node.port = self._listen(server, address)
        except RuntimeError as error:
            raise PortTaken(f"cannot listen on {address}: {error}") from error
        server.start()
        self._grpc = server
        self.node.is_alive = True

    def stop(self) -> None:
        """Cut every connection and listen no more; safe to repeat."""
        if self._grpc is None:
            return
        self.node.is_alive = False
        stopped = self._grpc.stop(None)
        self.node.log.wake()
        stopped.wait(STOP_TIMEOUT_S)
        self._grpc = None
        self.node.recent.forget()

    def cut_subscriptions(self) -> None:
        """End every subscription that runs now, as when the connection breaks."""
        self.node.cuts += 1
        self.node.log.wake()

    def lead(self) -> None:
        """Win an election: this node takes the writes from now on."""
        self.node.recent.forget()
        self.node.log.note_epoch()
        self.node.membership.leader = self.node

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _listen(self, server: grpc.Server, address: str) -> int:
        if self._tls is None:
            return server.add_insecure_port(address)
        pair = (self._tls.key, self._tls.certificate)
        return server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
