"""A shift: the attempts that are under way from one start of the dispatcher to its next stop."""

import asyncio
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import datetime
from typing import TypeAlias

from services.eventstore.event import Position
from services.kernel.clock import Clock
from services.notifier.courier import Courier
from services.notifier.delivery import DeliveryKey, Verdict
from services.notifier.planner import Planner
from services.notifier.readmodel.due import PlannedAttempt
from services.notifier.traffic import Traffic

LOOK_S = 0.02
"""How often the shift asks, without any I/O, whether there may be something to do."""

DRAIN_S = 5.0
"""How long attempts under way may still take after the stop; what is cut off then is made again, with the same id."""

AttemptTask: TypeAlias = "asyncio.Task[tuple[Verdict, Position]]"


class Shift:
    """Begins what the planner admits and tells the traffic how it ended. Belongs to one event loop."""

    def __init__(
        self,
        planner: Planner,
        courier: Courier,
        traffic: Traffic,
        clock: Clock,
        folded: Callable[[], Position],
        reading: Executor,
    ) -> None:
        """`folded` tells the position of the tables; the planner reads them in `reading`."""
        self._planner = planner
        self._courier = courier
        self._traffic = traffic
        self._clock = clock
        self._folded = folded
        self._reading = reading
        self._tasks: set[AttemptTask] = set()
        self._ended = asyncio.Event()
        self._crash: BaseException | None = None
        self._looked_at: Position | None = None
        self._next_due_at: datetime | None = None

    async def run(self, stop: threading.Event, may_begin: Callable[[], bool], looked: Callable[[], None]) -> None:
        """Begin attempts until `stop` is set, while `may_begin`; raises what kept one from being recorded."""
        while not stop.is_set():
            if may_begin() and self._has_news():
                await self._begin_what_is_due()
                looked()
            await self._pause()
            if self._crash is not None:
                raise self._crash

    async def end(self) -> None:
        """Let what is under way come to its end, for a while."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _has_news(self) -> bool:
        """Whether the tables moved, an attempt ended, or the clock passed the next one due."""
        is_due = self._next_due_at is not None and self._clock.now() >= self._next_due_at
        return is_due or self._ended.is_set() or self._folded() != self._looked_at

    async def _begin_what_is_due(self) -> None:
        self._ended.clear()
        self._looked_at = self._folded()
        agenda = await asyncio.get_running_loop().run_in_executor(self._reading, self._planner.plan)
        self._next_due_at = agenda.next_due_at
        for planned in agenda.attempts:
            self._begin(planned)

    def _begin(self, planned: PlannedAttempt) -> None:
        task = asyncio.create_task(self._courier.attempt(planned))
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._finish, planned.key))

    def _finish(self, key: DeliveryKey, task: AttemptTask) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            verdict, recorded_at = task.result()
            self._traffic.end(key, recorded_at, is_success=verdict.is_success)
        else:
            self._crash = error
        self._ended.set()

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._ended.wait(), LOOK_S)
        except TimeoutError:
            return
