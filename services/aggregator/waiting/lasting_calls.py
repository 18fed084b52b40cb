"""Calls that may last: they wait for counts of earlier usage, in threads of their own, bounded, while callers wait."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from typing import TypeVar

from services.aggregator.deadline import Deadline, caller_gone
from services.kernel.errors import Overloaded, TimedOut
from services.rpc.authorization import EVERYBODY
from services.rpc.deadline import HasTimeRemaining, time_left_s
from services.rpc.interceptor import caller_of_call

Q = TypeVar("Q")
A = TypeVar("A")

LASTING_TIMEOUT_S = 3_600.0
"""The longest deadline that is kept to; without a deadline, a call is answered within the server's usual time."""

THREADS_MAX = 32
WAITING_MAX = 24
"""Threads of calls that may wait for a count; the others are left to calls that are answered early."""

CALLS_MAX = 200
"""Calls that last at once: at work, or waiting for a thread, which costs none. As many more may be answered early."""

CLIENT_WAITING_MAX = 16
CLIENT_CALLS_MAX = 150
"""What one API key may take of WAITING_MAX and CALLS_MAX: whoever waits much leaves something to the others."""

ANSWER_S = 0.5
ANSWER_SHARE = 10
"""So much of a call's time, at most one part in ANSWER_SHARE of it, is kept back to tell what became of the call."""


class LastingCalls:
    """Runs blocking calls for coroutines. To be used from one event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="lasting call")
        self._waiting = asyncio.Semaphore(WAITING_MAX)
        self._client_waiting: dict[str, asyncio.Semaphore] = {}
        self._lasting: Counter[str] = Counter()
        self._early: Counter[str] = Counter()

    async def run(self, call: Callable[[Q, float], A], request: Q, context: HasTimeRemaining) -> A:
        """The call's answer; it is given the request and its seconds. Raises what it raises, and Overloaded."""
        deadline, client = Deadline.after(seconds_of(context)), caller_of_call.get(EVERYBODY).name
        if getattr(request, "answer_early", False):
            with _counted(self._early, client, "repeat later"):
                return await self._in_thread(call, request, deadline)
        with _counted(self._lasting, client, "repeat later, or answer_early where a request has that"):
            async with self._turn(client, deadline):
                return await self._in_thread(call, request, deadline)

    @asynccontextmanager
    async def _turn(self, client: str, deadline: Deadline) -> AsyncIterator[None]:
        """One of the threads that may wait; raises TimedOut, and then nothing was begun."""
        own = self._client_waiting.setdefault(client, asyncio.Semaphore(CLIENT_WAITING_MAX))
        async with _entered(own, deadline), _entered(self._waiting, deadline):
            yield

    async def _in_thread(self, call: Callable[[Q, float], A], request: Q, deadline: Deadline) -> A:
        gone, of_call = threading.Event(), copy_context()
        of_call.run(caller_gone.set, gone)

        def answer() -> A:
            return of_call.run(call, request, deadline.left_s())

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, answer)
        finally:
            gone.set()


@contextmanager
def _counted(calls: Counter[str], client: str, remedy: str) -> Iterator[None]:
    """One more call, of all and of its client; raises Overloaded, and then it is not counted."""
    if calls.total() >= CALLS_MAX:
        message = f"{CALLS_MAX} calls wait for usage to be counted already; {remedy}"
        raise Overloaded(message, reason="TOO_MANY_WAITING")
    if calls[client] >= CLIENT_CALLS_MAX:
        message = f'{CLIENT_CALLS_MAX} calls of client "{client}" wait for usage to be counted already; {remedy}'
        raise Overloaded(message, reason="CLIENT_TOO_MANY_WAITING")
    calls[client] += 1
    try:
        yield
    finally:
        calls[client] -= 1


@asynccontextmanager
async def _entered(places: asyncio.Semaphore, deadline: Deadline) -> AsyncIterator[None]:
    """One of the places; raises TimedOut."""
    try:
        async with asyncio.timeout(deadline.left_s()):
            await places.acquire()
    except TimeoutError:
        raise TimedOut("other calls waited for usage to be counted for all of this one's time; repeat it") from None
    try:
        yield
    finally:
        places.release()


def seconds_of(context: HasTimeRemaining) -> float:
    """Seconds that a call may work for: what its caller set, up to LASTING_TIMEOUT_S, but for ANSWER_S."""
    left_s = time_left_s(context, LASTING_TIMEOUT_S)
    return left_s - min(ANSWER_S, left_s / ANSWER_SHARE)
