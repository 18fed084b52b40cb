"""Calls that may last: they wait for counts of earlier usage, in threads of their own, bounded, while callers wait."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import TypeVar

from services.aggregator.deadline import Deadline, caller_gone
from services.kernel.errors import Overloaded, TimedOut
from services.rpc.deadline import HasTimeRemaining, time_left_s

Q = TypeVar("Q")
A = TypeVar("A")

LASTING_TIMEOUT_S = 3_600.0
"""The longest deadline that is kept to; without a deadline, a call is answered within the server's usual time."""

THREADS_MAX = 32
WAITING_MAX = 24
"""Threads of calls that may wait for a count; the others are left to calls that are answered early."""

CALLS_MAX = 200
"""Calls that last at once: at work, or waiting for a thread, which costs none."""

ANSWER_S = 0.5
ANSWER_SHARE = 10
"""So much of a call's time, at most one part in ANSWER_SHARE of it, is kept back to tell what became of the call."""


class LastingCalls:
    """Runs blocking calls for coroutines. To be used from one event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="lasting call")
        self._waiting = asyncio.Semaphore(WAITING_MAX)
        self._calls = 0

    async def run(self, call: Callable[[Q, float], A], request: Q, context: HasTimeRemaining) -> A:
        """The call's answer; it is given the request and its seconds. Raises what it raises, and Overloaded."""
        deadline = Deadline.after(seconds_of(context))
        if self._calls >= CALLS_MAX:
            raise Overloaded(
                f"{CALLS_MAX} calls wait for usage to be counted already; repeat later, or answer_early",
                reason="TOO_MANY_WAITING",
            )
        self._calls += 1
        try:
            if getattr(request, "answer_early", False):
                return await self._in_thread(call, request, deadline)
            async with self._turn(deadline):
                return await self._in_thread(call, request, deadline)
        finally:
            self._calls -= 1

    @asynccontextmanager
    async def _turn(self, deadline: Deadline) -> AsyncIterator[None]:
        """One of the threads that may wait; raises TimedOut, and then nothing was begun."""
        try:
            async with asyncio.timeout(deadline.left_s()):
                await self._waiting.acquire()
        except TimeoutError:
            raise TimedOut("other calls waited for usage to be counted for all of this one's time; repeat it") from None
        try:
            yield
        finally:
            self._waiting.release()

    async def _in_thread(self, call: Callable[[Q, float], A], request: Q, deadline: Deadline) -> A:
        gone, of_call = threading.Event(), copy_context()
        of_call.run(caller_gone.set, gone)

        def answer() -> A:
            return of_call.run(call, request, deadline.left_s())

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, answer)
        finally:
            gone.set()


def seconds_of(context: HasTimeRemaining) -> float:
    """Seconds that a call may work for: what its caller set, up to LASTING_TIMEOUT_S, but for ANSWER_S."""
    left_s = time_left_s(context, LASTING_TIMEOUT_S)
    return left_s - min(ANSWER_S, left_s / ANSWER_SHARE)
