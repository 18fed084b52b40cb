"""Faces on a free port of loopback, behind the same interceptor as in a service; the event loop has a thread."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc

from services.rpc.common_settings import common_settings
from services.rpc.health import Health
from services.rpc.server import call_interceptor, open_server
from services.rpc.settings import Settings

WAIT_S = 60.0


@contextmanager
def served(faces: Sequence[tuple[str, Callable[[grpc.aio.Server], None]]]) -> Iterator[str]:
    """The address of a server with these faces, by service name."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(daemon=True, target=loop.run_forever)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(WAIT_S)

    async def begin() -> tuple[grpc.aio.Server, int]:
        settings = Settings(common_settings("aggregator"), {"METERLOG_LISTEN": "127.0.0.1:0"})
        server = await open_server(settings, list(faces), Health(()), call_interceptor(settings))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    server, port = run(begin())
    try:
        yield f"127.0.0.1:{port}"
    finally:
        run(server.stop(0))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)
        loop.close()
