"""Connections to the services: address, key, encryption, and limits that suit a client which restarts nothing."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import grpc

from meterlog.client.errors import WrongValue
from meterlog.client.process import OwnProcess

API_KEY_VARIABLE = "METERLOG_API_KEY"

_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_LOOPBACK = ("127.", "localhost", "[::1]", "ipv4:127.", "ipv6:[::1]", "unix:")
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Without these bounds gRPC waits up to two minutes before it looks again for a service that restarted.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """Encryption, in PEM: who to trust (default: the system's roots), and the client's own certificate, if any."""

    root_certificates: bytes | None = None
    certificate_chain: bytes | None = None
    private_key: bytes | None = field(default=None, repr=False)

    def credentials(self) -> grpc.ChannelCredentials:
        """The gRPC credentials."""
        return grpc.ssl_channel_credentials(self.root_certificates, self.private_key, self.certificate_chain)


@dataclass(frozen=True, slots=True)
class Connection:
    """How the services are reached; `api_key` None means that of METERLOG_API_KEY, if set."""

    ingest: str
    aggregator: str
    rating: str
    api_key: str = field(repr=False)
    tls: Tls | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries."""
        return (("x-api-key", self.api_key),) if self.api_key else ()


def connection(ingest: str, aggregator: str, rating: str, api_key: str | None, tls: Tls | None) -> Connection:
    """The connection of a client's arguments; raises WrongValue when the key cannot be sent."""
    key = os.environ.get(API_KEY_VARIABLE, "").strip() if api_key is None else api_key
    if not (key.isascii() and key.isprintable()):
        raise WrongValue("the API key holds characters that no key has; check the argument or METERLOG_API_KEY")
    return Connection(ingest, aggregator, rating, key, tls)


C = TypeVar("C")


class Channels(Generic[C]):
    """One channel for each address that was asked for, opened when first used."""

    def __init__(self, open_one: Callable[[str, Tls | None], C], tls: Tls | None) -> None:
        self._open_one = open_one
        self._tls = tls
        self._process = OwnProcess()
        self._by_address: dict[str, C] = {}

    def get(self, address: str) -> C:
        """The channel to `address`; raises UsedAfterFork."""
        self._process.claim()
        if address not in self._by_address:
            self._by_address.setdefault(address, self._open_one(address, self._tls))
        return self._by_address[address]

    def take_all(self) -> tuple[C, ...]:
        """The channels that are open, for their owner to close; none in a fork's child, whose parent uses them."""
        channels = () if self._process.is_another else tuple(self._by_address.values())
        self._by_address.clear()
        return channels


def open_channel(address: str, tls: Tls | None) -> grpc.Channel:
    """A channel for threads; connects when first used."""
    if tls is None:
        return grpc.insecure_channel(address, options=_options(address))
    return grpc.secure_channel(address, tls.credentials(), options=_options(address))


def open_async_channel(address: str, tls: Tls | None) -> grpc.aio.Channel:
    """A channel for the running event loop; connects when first used."""
    if tls is None:
        return grpc.aio.insecure_channel(address, options=_options(address))
    return grpc.aio.secure_channel(address, tls.credentials(), options=_options(address))


def _options(address: str) -> tuple[tuple[str, int], ...]:
    # A proxy of the environment leads away from this machine, so it is never meant for a loopback address.
    return (*_OPTIONS, ("grpc.enable_http_proxy", 0)) if address.startswith(_LOOPBACK) else _OPTIONS
