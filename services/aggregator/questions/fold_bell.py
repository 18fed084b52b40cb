"""Wakes coroutines whenever the fold has moved, so that who waits for news holds no thread."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from services.aggregator.tables import UsageTables
from services.kernel.errors import Unavailable
from services.projection.lasting_thread import LastingThread
from services.projection.runner import ProjectionRunner

LOOK_EVERY_S = 0.1
"""How long the bell waits for a move before it looks whether it should stop."""


class Listener:
    """A coroutine that wants to be woken; moves while it is busy are one move."""

    def __init__(self, bell: "FoldBell") -> None:
        self._bell = bell
        self._loop = asyncio.get_running_loop()
        self._moved = asyncio.Event()

    def wake(self) -> None:
        """Say that something moved; from any thread, also when the listener's loop is gone."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._moved.set)

    def forget(self) -> None:
        """What moved until now is known."""
        self._moved.clear()

    async def moved(self) -> None:
        """Return when something has moved since the last `forget`; raises Unavailable when the service stops."""
        await self._moved.wait()
        self._bell.require_open()


class FoldBell:
    """A worker with one thread, which follows the fold for all listeners."""

    name = "tell watchers"

    def __init__(self, windows: ProjectionRunner[UsageTables]) -> None:
        self._windows = windows
        self._listeners: set[Listener] = set()
        self._joining = threading.Lock()
        self._is_draining = threading.Event()
        self._thread = LastingThread(self.name, self._follow)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Send all listeners away, and stop."""
        self.drain()
        self._thread.stop(timeout_s)

    def is_ready(self) -> bool:
        """Always: queries need no bell."""
        return True

    def problem(self) -> str:
        """Why following failed; empty while all is well."""
        return self._thread.problem

    def drain(self) -> None:
        """Send all listeners away: the service stops. They raise Unavailable."""
        self._is_draining.set()
        self._ring()

    def require_open(self) -> None:
        """Raises Unavailable when the service stops."""
        if self._is_draining.is_set():
            raise Unavailable("the service is stopping; watch again in a moment")

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """A listener, until the end of the block; entered on the event loop that it lives on."""
        listener = Listener(self)
        with self._joining:
            self._listeners.add(listener)
        try:
            self.require_open()
            yield listener
        finally:
            with self._joining:
                self._listeners.discard(listener)

    def _follow(self, stop: threading.Event) -> None:
        position = self._windows.position()
        while not stop.is_set():
            try:
                reached = self._windows.wait_for_move(position, LOOK_EVERY_S)
            except Unavailable:
                self.drain()
                stop.wait()
                return
            if reached != position:
                position = reached
                self._ring()
            self._thread.well()

    def _ring(self) -> None:
        with self._joining:
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener.wake()
