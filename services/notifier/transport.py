"""Posts one message over HTTP, to public addresses only, and says what came back.

The address is checked where the connection is opened, each time, for every address family: a name that points
elsewhere the second time, an address written as a literal, and a redirect all end there.
"""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import aiohttp
from yarl import URL

from services.kernel.clock import Clock, monotonic_s
from services.notifier.delivery import EXCERPT_BYTES_MAX, Answer, Failure
from services.notifier.endpoint_url import is_https
from services.notifier.network import Network, is_allowed
from services.notifier.retry_after import retry_after_s

CONNECTION_AGE_MAX_S = 60.0
"""After so long connections are opened anew, so that a change of DNS is followed. Longer than any attempt may take."""

DNS_CACHE_S = 30

_HEADERS = {"content-type": "application/json", "user-agent": "Meterlog-Webhooks", "accept-encoding": "identity"}


class Transport(Protocol):
    """What carries a message to its receiver."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post these exact bytes. Whatever a receiver or the network does is an answer, never an error."""


class BlockedAddress(OSError):
    """The connection would go where no webhook may go. The message names no address: owners of endpoints read it."""

    def __init__(self) -> None:
        super().__init__("the address is blocked")


@dataclass(frozen=True, slots=True)
class Reach:
    """How far and how long an attempt may go. `allowed` are networks that are not public and may be reached."""

    timeout_s: int
    connections_max: int
    allowed: Sequence[Network] = ()
    allows_http: bool = False


class HttpTransport:
    """A Transport over aiohttp; an asynchronous context manager that belongs to one event loop."""

    def __init__(self, reach: Reach, wall_clock: Clock) -> None:
        self._reach = reach
        self._wall_clock = wall_clock
        self._session: aiohttp.ClientSession | None = None
        self._retired: aiohttp.ClientSession | None = None
        self._opened_at_s = 0.0

    async def __aenter__(self) -> "HttpTransport":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in (self._session, self._retired):
            if session is not None:
                await session.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """As in `Transport`. Follows no redirect, keeps no cookie, uses no proxy, reads no more than the excerpt."""
        if not (self._reach.allows_http or is_https(url)):
            return Answer(failure=Failure.BLOCKED_SCHEME)
        session = await self._fresh_session()
        try:
            async with session.post(
                URL(url, encoded=True), data=body, headers={**_HEADERS, **headers}, allow_redirects=False
            ) as response:
                return await self._answer(response)
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            return Answer(failure=failure_of(error))

    async def _answer(self, response: aiohttp.ClientResponse) -> Answer:
        asked = response.headers.get("retry-after")
        return Answer(
            status=response.status,
            excerpt=await _excerpt(response),
            retry_after_s=None if asked is None else retry_after_s(asked, self._wall_clock.now()),
        )

    async def _fresh_session(self) -> aiohttp.ClientSession:
        """The session, opened anew when it is too old. The one before it is closed once nothing can use it any more."""
        now_s = monotonic_s()
        if self._session is None or now_s - self._opened_at_s > CONNECTION_AGE_MAX_S:
            outdated, self._retired, self._session = self._retired, self._session, self._open_session()
            self._opened_at_s = now_s
            if outdated is not None:
                await outdated.close()
        return self._session

    def _open_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._reach.connections_max, ttl_dns_cache=DNS_CACHE_S, socket_factory=self._open_socket
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._reach.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    def _open_socket(self, address: Any) -> socket.socket:
        """A socket for one resolved address, as `socket.getaddrinfo` gives it; raises BlockedAddress."""
        family, kind, protocol, _, (host, *_) = address
        if not is_allowed(str(host), self._reach.allowed):
            raise BlockedAddress
        return socket.socket(family, kind, protocol)


def failure_of(error: Exception) -> Failure:
    """The class of what went wrong before there was an answer."""
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, BlockedAddress):
        return Failure.BLOCKED_ADDRESS
    return next(failure for kinds, failure in _FAILURES if isinstance(error, kinds))


_FAILURES: tuple[tuple[tuple[type[Exception], ...], Failure], ...] = (
    ((TimeoutError,), Failure.TIMEOUT),
    ((aiohttp.InvalidURL,), Failure.INVALID_URL),
    ((aiohttp.ClientConnectorDNSError, UnicodeError), Failure.DNS),
    ((aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch), Failure.TLS),
    ((aiohttp.ClientConnectionError, OSError), Failure.CONNECTION),
    ((aiohttp.ClientError,), Failure.PROTOCOL),
)
"""The first row that fits holds."""


async def _excerpt(response: aiohttp.ClientResponse) -> bytes:
    """The begin of the body. The status stands already, so a body that breaks off changes nothing."""
    excerpt = b""
    try:
        while len(excerpt) < EXCERPT_BYTES_MAX:
            chunk = await response.content.read(EXCERPT_BYTES_MAX - len(excerpt))
            if not chunk:
                break
            excerpt += chunk
    except (aiohttp.ClientError, TimeoutError):
        return excerpt
    return excerpt
