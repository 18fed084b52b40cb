"""One connection to KurrentDB, with what every call on it carries.

The calls go to the client's stream service directly: what the client puts around it repeats calls once by itself,
reconnects without a deadline, and doubles the time that a caller waits.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from kurrentdbclient import KurrentDBClient, StreamState
from kurrentdbclient import NewEvent as ServerEvent
from kurrentdbclient.common import GrpcOptions

from services.eventstore.event import BEGINNING, NO_STREAM, Position, StreamName
from services.eventstore.kurrentdb.address import Address

if TYPE_CHECKING:
    from kurrentdbclient.streams import CatchupSubscription, ReadResponse

_NOT_OF_THE_SERVER = (r"[^$].*",)
"""Streams whose name begins with "$" are the server's own; the client anchors the pattern on both sides."""

_SEARCH_WINDOW = 500
_WINDOWS_A_CHECKPOINT = 4


class _Client(KurrentDBClient):
    """The client, without the retries that gRPC makes unasked.

    With them (grpcio 1.85.1) a streaming call under which the server goes away can hang for ever, long past its
    deadline; and we repeat by ourselves. A subclass, because the client offers no way to set an option of its channels.
    """

    def _construct_grpc_channel(self, grpc_target: str, grpc_options: GrpcOptions = ()) -> Any:
        return super()._construct_grpc_channel(grpc_target, (*grpc_options, ("grpc.enable_retries", 0)))


class Session:
    """The reads and the append of one connection. Raises the client's errors; safe to share between threads."""

    def __init__(self, address: Address, uri: str) -> None:
        """Raises what the client raises for a cluster that shows no usable node."""
        self.client = _Client(uri)
        self._metadata = (("connection-name", self.client.connection_spec.options.connection_name),)
        self._credentials = self.client.construct_call_credentials(address.username, address.password)

    def append(
        self, stream: StreamName, expected_version: int, events: Sequence[ServerEvent], timeout_s: float
    ) -> Position:
        """Append behind an exact version (or NO_STREAM); the position of the last event."""
        expected = StreamState.NO_STREAM if expected_version == NO_STREAM else expected_version
        position = self.client.streams.batch_append(
            str(stream), expected, events, timeout_s, self._metadata, self._credentials
        )
        return Position(position)

    def read_stream(
        self, stream: StreamName, from_version: int | None, limit: int, timeout_s: float, *, backwards: bool = False
    ) -> "ReadResponse":
        """The events of a stream from a version (None: from its end of that direction), while they arrive."""
        return self.client.streams.read(
            stream_name=str(stream),
            stream_position=from_version,
            backwards=backwards,
            limit=limit,
            timeout=timeout_s,
            metadata=self._metadata,
            credentials=self._credentials,
        )

    def read_all(
        self,
        start: Position | None,
        categories: Collection[str],
        limit: int,
        timeout_s: float,
        *,
        backwards: bool = False,
    ) -> "ReadResponse":
        """Events of the log from `start`, itself included (None: from its end of that direction), while they arrive."""
        return self.client.streams.read(
            commit_position=start,
            backwards=backwards,
            filter_include=_stream_filter(categories),
            filter_by_stream_name=True,
            filter_by_prefix=bool(categories),
            limit=limit,
            timeout=timeout_s,
            metadata=self._metadata,
            credentials=self._credentials,
        )

    def subscribe(self, after: Position, categories: Collection[str]) -> "CatchupSubscription":
        """Events behind `after`, checkpoints and caught-up marks, without end."""
        return self.client.streams.read(
            commit_position=None if after == BEGINNING else after,
            filter_include=_stream_filter(categories),
            filter_by_stream_name=True,
            filter_by_prefix=bool(categories),
            subscribe=True,
            include_checkpoints=True,
            include_caught_up=True,
            window_size=_SEARCH_WINDOW,
            checkpoint_interval_multiplier=_WINDOWS_A_CHECKPOINT,
            metadata=self._metadata,
            credentials=self._credentials,
        )

    def close(self) -> None:
        """Let go of the connection; calls that are under way end as cancelled."""
        self.client.close()


def _stream_filter(categories: Collection[str]) -> Sequence[str]:
    """Prefixes of stream names, or the pattern that leaves out the server's own streams."""
    return sorted({f"{category}-" for category in categories}) or _NOT_OF_THE_SERVER
