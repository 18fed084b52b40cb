"""A real HTTP receiver of webhooks on a free port of loopback, for tests: it keeps what arrives and answers as told."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

START_TIMEOUT_S = 10.0
LOOP_TURNS = 10

Answer = Callable[[], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> dict[str, object]:
        """The document, after the package that receivers use has verified signature and time."""
        document = Webhook(secret).verify(self.body, self.headers)
        assert isinstance(document, dict)
        return document


class Receiver:
    """Answers 204 on every path until it is told otherwise."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self._scripts: dict[str, list[Answer]] = {}
        self._rules: dict[str, Answer] = {}
        self._loop = asyncio.new_event_loop()
        self._released = asyncio.Event()
        self._thread = threading.Thread(daemon=True, target=self._loop.run_forever)
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(START_TIMEOUT_S)

    def url(self, path: str = "/hooks", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def arrived(self, path: str) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.path == path]

    def always(self, path: str, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        """Answer every request of the path so."""
        self._rules[path] = answer(status, headers, body)

    def then(self, path: str, *statuses: int) -> None:
        """Answer the next requests of the path so, one after the other."""
        self._scripts.setdefault(path, []).extend(answer(status) for status in statuses)

    def hang(self, path: str) -> None:
        """Answer requests of the path only when the receiver is told to release them."""
        self._rules[path] = self._hanging

    def release(self) -> None:
        """Answer what hangs."""
        self._loop.call_soon_threadsafe(self._released.set)

    def close(self) -> None:
        self.release()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(START_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_TIMEOUT_S)
        self._loop.close()

    async def _open(self) -> int:
        application = web.Application(client_max_size=4 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", self._receive)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        assert isinstance(port, int)
        return port

    async def _end(self) -> None:
        """Stop listening, and let the loop close the sockets of the last connections before it is stopped.

        A sender that connected at this very moment was accepted by nobody; such connections are cut.
        """
        await self._runner.cleanup()
        for _ in range(LOOP_TURNS):
            await asyncio.sleep(0)
            for transport in self._transports():
                transport.abort()

    def _transports(self) -> list[asyncio.Transport]:
        """The connections that the loop still watches; nobody else knows them."""
        selector: Any = vars(self._loop)["_selector"]
        watched = selector.get_map().values()
        handles = [handle for key in watched for handle in key.data if handle is not None]
        owners = [getattr(handle._callback, "__self__", None) for handle in handles]
        return [owner for owner in owners if isinstance(owner, asyncio.Transport)]

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.arrivals.append(Arrival(request.path, headers, await request.read()))
        script = self._scripts.get(request.path)
        make = script.pop(0) if script else self._rules.get(request.path, answer(204))
        return await make()

    async def _hanging(self) -> web.StreamResponse:
        await self._released.wait()
        return web.Response(status=204)


def answer(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
    async def make() -> web.StreamResponse:
        return web.Response(status=status, headers=headers, body=body)

    return make
