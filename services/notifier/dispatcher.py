"""The dispatcher: a worker that makes due attempts, many at once, fairly among endpoints.

It finds what is due in the tables alone and sends only from there, so folding and rebuilding them never sends anything.
"""

import asyncio
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager

import structlog

from services.eventstore.decider import handle
from services.eventstore.event import Position
from services.eventstore.store import EventStore
from services.kernel.errors import DomainError
from services.notifier.courier import Clocks, Courier
from services.notifier.endpoint import REASON_GONE, DisableEndpoint, endpoint, endpoint_stream
from services.notifier.keyring import Keyring
from services.notifier.planner import Planner
from services.notifier.readmodel.tables import WebhookTables
from services.notifier.recorder import Recorder
from services.notifier.shift import Shift
from services.notifier.traffic import Traffic
from services.notifier.transport import Transport
from services.projection.lasting_thread import LastingThread
from services.projection.runner import ProjectionRunner

BLOCKING_THREADS = 4

log = structlog.get_logger()


class Dispatcher:
    """Sends at least once: what was sent and not recorded, because the process died, is sent again with the same id."""

    name = "dispatcher"

    def __init__(
        self,
        store: EventStore,
        runner: ProjectionRunner[WebhookTables],
        keyring: Keyring,
        clocks: Clocks,
        open_transport: Callable[[], AbstractAsyncContextManager[Transport]],
        *,
        slots: int,
        is_dry_run: bool,
    ) -> None:
        """At most `slots` attempts run at once; with `is_dry_run` none is posted."""
        self._store = store
        self._runner = runner
        self._keyring = keyring
        self._clocks = clocks
        self._open_transport = open_transport
        self._slots = slots
        self._is_dry_run = is_dry_run
        self._recorder = Recorder(store)
        self._thread = LastingThread(self.name, self._work)
        self._has_looked = False

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Begin nothing new, let what is under way end for a while, and stop."""
        self._thread.stop(timeout_s)

    def is_ready(self) -> bool:
        """Whether it sends."""
        return self._has_looked and not self.problem()

    def problem(self) -> str:
        """Why nothing is sent; empty while it is."""
        return self._thread.problem or self._recorder.problem

    def _work(self, stop: threading.Event) -> None:
        asyncio.run(self._dispatch(stop))

    async def _dispatch(self, stop: threading.Event) -> None:
        names = ThreadPoolExecutor(self._slots, thread_name_prefix="look up webhook hosts")
        asyncio.get_running_loop().set_default_executor(names)
        with ThreadPoolExecutor(BLOCKING_THREADS, thread_name_prefix="webhooks") as blocking:
            head = await asyncio.get_running_loop().run_in_executor(blocking, self._store.head)
            async with self._open_transport() as transport:
                shift = self._shift(transport, blocking)
                try:
                    await shift.run(stop, functools.partial(self._may_begin, head.position), self._looked)
                finally:
                    await shift.end()

    def _shift(self, transport: Transport, blocking: ThreadPoolExecutor) -> Shift:
        traffic = Traffic(self._slots)
        disable = functools.partial(self._disable, blocking)
        courier = Courier(transport, self._recorder, self._keyring, self._clocks, disable, is_dry_run=self._is_dry_run)
        planner = Planner(self._runner, traffic, self._keyring, self._clocks.business)
        return Shift(planner, courier, traffic, self._clocks.business, self._runner.position, blocking)

    def _may_begin(self, since: Position) -> bool:
        """Not before the tables know all that was recorded before this shift, for they show as due what is delivered;
        and not while nothing can be recorded."""
        is_up_to_date = self._runner.is_ready() and self._runner.position() >= since
        return is_up_to_date and not self._recorder.problem

    def _looked(self) -> None:
        self._has_looked = True
        self._thread.well()

    async def _disable(self, blocking: ThreadPoolExecutor, key: str) -> None:
        """Switch the endpoint off, for its receiver answered 410; should that fail, its next answer tries again."""
        command = DisableEndpoint(key, REASON_GONE, self._clocks.business.now())
        run = functools.partial(handle, self._store, endpoint, endpoint_stream(key), command, command.at)
        try:
            await asyncio.get_running_loop().run_in_executor(blocking, run)
        except DomainError as error:
            log.error("webhook endpoint could not be disabled", endpoint=key, error=error.message)
        else:
            log.warning("webhook endpoint disabled: its receiver is gone", endpoint=key)
