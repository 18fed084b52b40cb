"""From the SDK: a long count is waited for, or not; how far it is can be seen; a deadline that passes tells where."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from meterlog.client import AsyncMeterlog, CallFailed, CountingState, Meter, Meterlog, UsageName
from tests.aggregator_room import WAIT_S, AggregatorRoom
from tests.corrected_room import filled_room, value
from tests.held_count import HeldCount
from tests.patience import in_time, patiently
from tests.served_room import served_room

CALLS = Meter("calls", "call", "count")
NOBODY = "127.0.0.1:1"


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    with filled_room(tmp_path) as opened:
        yield opened


@pytest.fixture
def held(room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldCount]:
    hold = HeldCount(monkeypatch)
    yield hold
    hold.let_go()


@pytest.fixture
def meterlog(room: AggregatorRoom, held: HeldCount) -> Iterator[Meterlog]:
    with served_room(room) as address, Meterlog(NOBODY, aggregator=address) as client:
        yield client


def test_who_does_not_wait_is_told_what_to_wait_for_and_waits_later(meterlog: Meterlog, held: HeldCount) -> None:
    held.arm()
    created = meterlog.meters.create(CALLS, wait=False)
    assert created.counting is not None
    held.wait()
    seen: list[CountingState] = []

    def let_go(state: CountingState) -> None:
        seen.append(state)
        held.let_go()

    meterlog.meters.wait(created.counting.position, timeout_s=WAIT_S, on_progress=let_go)

    running = seen[0].running
    assert running is not None
    assert (running.meters, running.step, running.done, running.total) == (("calls",), "counting", 4, 4)
    assert meterlog.meters.get("calls").counting is None
    assert meterlog.meters.counting().running is None


def test_a_deadline_that_passes_is_a_failure_with_the_position_to_wait_for(
    meterlog: Meterlog, held: HeldCount, room: AggregatorRoom
) -> None:
    held.arm()

    def cancel_too_late(deadline_s: float) -> None:
        with pytest.raises(CallFailed) as late:
            meterlog.corrections.cancel("c", [UsageName("test", "0-0-0", 3)], reason="wrong", timeout_s=deadline_s)
        in_time(late.value.failure.reason == "STILL_COUNTING")
        assert late.value.failure.position == room.store.head().position

    patiently(cancel_too_late)
    with pytest.raises(CallFailed, match="wait again") as late:
        meterlog.meters.wait(room.store.head().position, timeout_s=0)
    assert (late.value.failure.reason, late.value.failure.position) == ("STILL_COUNTING", room.store.head().position)
    held.let_go()
    meterlog.meters.wait(room.store.head().position, timeout_s=WAIT_S)
    assert value(room) == "14"


def test_the_asyncio_client_waits_the_same(meterlog: Meterlog, room: AggregatorRoom, held: HeldCount) -> None:
    async def wait(address: str) -> None:
        async with AsyncMeterlog(NOBODY, aggregator=address) as client:
            done = await client.corrections.amend(
                "a", UsageName("test", "0-0-0", 3), value="2", reason="mistyped", wait=False
            )
            assert done.counting is not None
            await client.meters.wait(done.counting.position, timeout_s=WAIT_S, on_progress=lambda _state: held.let_go())
            assert (await client.corrections.get("a")).counting is None
            assert (await client.meters.counting()).problem == ""

    held.arm()
    with served_room(room) as address:
        asyncio.run(wait(address))
    assert value(room) == "16"
