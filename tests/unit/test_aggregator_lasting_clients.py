"""Clients that share the places of calls that last: one that takes all it can leaves some to the others."""

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from services.aggregator.waiting.lasting_calls import CLIENT_CALLS_MAX, CLIENT_WAITING_MAX, LastingCalls
from services.kernel.errors import Overloaded, TimedOut
from services.rpc.authorization import Caller, Scope
from services.rpc.interceptor import caller_of_call
from tests.aggregator_room import WAIT_S

SOON_S = 0.2


@dataclass(frozen=True)
class Context:
    """The context of a call with so many seconds left."""

    left_s: float

    def time_remaining(self) -> float:
        return self.left_s


@dataclass(frozen=True)
class Request:
    """A request that may ask to be answered early."""

    answer_early: bool = False


class Bench:
    """Calls that last until they are let go, by clients of whatever name."""

    def __init__(self) -> None:
        self.calls = LastingCalls()
        self.let_go = threading.Event()
        self.at_work: asyncio.Queue[str] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    async def wait(self, client: str, left_s: float = WAIT_S, request: Request | None = None) -> str:
        """A call of this client, from its beginning to its end."""
        caller_of_call.set(Caller(client, frozenset({Scope.ADMIN})))

        def work(_request: Request, _left_s: float) -> str:
            self._loop.call_soon_threadsafe(self.at_work.put_nowait, client)
            if not request:
                assert self.let_go.wait(WAIT_S)
            return client

        return await self.calls.run(work, request or Request(), Context(left_s))

    async def filled(self, client: str, calls: int) -> list["asyncio.Task[str]"]:
        """So many calls of this client, of which all that may are at work."""
        tasks = [asyncio.create_task(self.wait(client)) for _ in range(calls)]
        for _ in range(min(calls, CLIENT_WAITING_MAX)):
            assert await asyncio.wait_for(self.at_work.get(), WAIT_S) == client
        return tasks


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, WAIT_S))


def test_a_client_that_waits_with_all_calls_it_may_leaves_threads_to_the_others() -> None:
    async def story() -> None:
        bench = Bench()
        greedy = await bench.filled("greedy", CLIENT_CALLS_MAX)
        modest = asyncio.create_task(bench.wait("modest"))
        assert await bench.at_work.get() == "modest"
        bench.let_go.set()
        assert await modest == "modest"
        assert set(await asyncio.gather(*greedy)) == {"greedy"}

    run(story())


def test_a_client_with_more_calls_than_it_may_have_is_refused_and_nobody_else_is() -> None:
    async def story() -> None:
        bench = Bench()
        greedy = await bench.filled("greedy", CLIENT_CALLS_MAX)
        with pytest.raises(Overloaded, match='150 calls of client "greedy" wait') as refusal:
            await bench.wait("greedy")
        assert refusal.value.reason == "CLIENT_TOO_MANY_WAITING"
        assert await bench.wait("greedy", request=Request(answer_early=True)) == "greedy"
        modest = asyncio.create_task(bench.wait("modest"))
        bench.let_go.set()
        await asyncio.gather(modest, *greedy)
        assert await bench.wait("greedy") == "greedy"

    run(story())


def test_a_call_that_waits_for_its_turn_in_vain_leaves_the_place_to_the_next() -> None:
    async def story() -> None:
        bench = Bench()
        greedy = await bench.filled("greedy", CLIENT_WAITING_MAX)
        with pytest.raises(TimedOut, match="other calls waited"):
            await bench.wait("greedy", left_s=SOON_S)
        behind = asyncio.create_task(bench.wait("greedy"))
        bench.let_go.set()
        assert set(await asyncio.gather(behind, *greedy)) == {"greedy"}

    run(story())
