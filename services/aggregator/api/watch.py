"""The API's method that tells about usage as it changes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.api.usage_query import parse_watched, row_messages
from services.aggregator.deadline import Deadline
from services.aggregator.questions.answer import Answer, full_answer
from services.aggregator.questions.fold_bell import FoldBell
from services.aggregator.questions.known_then import meter_as_of
from services.aggregator.questions.watch import WATCHED_ROWS_MAX, Told, pause_s
from services.aggregator.snapshot import snapshot
from services.aggregator.tables import UsageTables
from services.aggregator.usage.archived_usage import ArchivedUsage
from services.aggregator.waiting.counting_progress import NOBODY_COUNTS, CountingView
from services.aggregator.waiting.outstanding import Outstanding
from services.eventstore.event import Position
from services.eventstore.store import EventStore
from services.kernel.clock import Clock, monotonic_s
from services.kernel.errors import Overloaded
from services.projection.runner import ProjectionRunner
from services.rpc.deadline import CALL_TIMEOUT_S

WATCHERS_MAX = 200
"""Calls that watch at once."""

WATCH_THREADS = 2
"""Threads that answer for all watchers: they never take one from the calls that are answered once."""


class UsageWatch:
    """Answers one query again whenever the fold has moved; between two answers a watcher is a waiting coroutine.

    Moves that come while a watcher rests or reads are told together. A watcher that reads slowly is told what holds
    then, not what held in between.
    """

    def __init__(
        self,
        store: EventStore,
        windows: ProjectionRunner[UsageTables],
        clock: Clock,
        bell: FoldBell,
        archive: ArchivedUsage | None = None,
        view: CountingView = NOBODY_COUNTS,
    ) -> None:
        """`view` knows how far counts of earlier usage are."""
        self._store = store
        self._windows = windows
        self._clock = clock
        self._bell = bell
        self._archive = archive
        self._threads = ThreadPoolExecutor(WATCH_THREADS, thread_name_prefix="watch")
        self._watchers = 0
        self._outstanding = Outstanding(store, windows, view)

    async def watch(self, request: api.WatchUsageRequest) -> AsyncIterator[api.WatchUsageResponse]:
        """All rows, then changed rows, until the caller goes or its deadline has passed.

        Raises what a query raises, Overloaded beyond WATCHERS_MAX, and Unavailable when the service stops.
        """
        told, is_first = Told(), True
        with self._admitted(), self._bell.listening() as listener:
            while True:
                listener.forget()
                began_s = monotonic_s()
                answer, position = await self._in_thread(request)
                pause = pause_s(monotonic_s() - began_s)
                news = told.news(answer.rows())
                if news or is_first:
                    is_first = False
                    rows = list(row_messages(answer.query, news))
                    yield api.WatchUsageResponse(rows=rows, position=position)
                await asyncio.sleep(pause)
                await listener.moved()

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        """Entered and left on the event loop alone, so a number is enough."""
        if self._watchers >= WATCHERS_MAX:
            raise Overloaded(
                f"{WATCHERS_MAX} calls watch usage already; end some, or query instead", reason="TOO_MANY_WATCHERS"
            )
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    async def _in_thread(self, request: api.WatchUsageRequest) -> tuple[Answer, Position]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._count, request)

    def _count(self, request: api.WatchUsageRequest) -> tuple[Answer, Position]:
        deadline = Deadline.after(CALL_TIMEOUT_S)
        with (
            self._outstanding.explained(),
            snapshot(self._windows, self._store, self._archive) as usage,
        ):
            query = parse_watched(meter_as_of(usage, request.meter, None), request).at(self._clock.now(), None)
            return full_answer(usage, query, deadline, WATCHED_ROWS_MAX), usage.position
