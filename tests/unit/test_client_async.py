"""The client for programs with an event loop, against an ingest service in memory that fails as scripted."""

import asyncio
import threading
from datetime import UTC, datetime

import grpc
import pytest

from meterlog.client import (
    AsyncMeterlog,
    ClientClosed,
    FlushTimedOut,
    QueueFull,
    RetryPolicy,
    Sending,
    WhenFull,
    WrongType,
)
from meterlog.client.testing import Fault, IngestInMemory

WAIT_S = 60.0
NOON = datetime(2023, 11, 16, 12, tzinfo=UTC)
QUICK = Sending(linger_s=0.005, retry=RetryPolicy(give_up_after_s=WAIT_S, first_delay_s=0.001, delay_max_s=0.01))


async def record(meterlog, number=0, **changes):
    arguments = {"id": f"id-{number}", "source": "gateway", "type": "llm.completion", "subject": "tenant-0"}
    return await meterlog.record(**{**arguments, "time": NOON, **changes})


async def answer(meterlog, number=0, **changes):
    return await asyncio.wait_for(await record(meterlog, number, **changes), WAIT_S)


def run(story, faults=(), sending=QUICK, **settings):
    """Plays the story with a client; the ingest service that it met."""

    async def play(ingest):
        async with AsyncMeterlog(ingest.address, sending=sending, **settings) as meterlog:
            await story(meterlog)

    with IngestInMemory(faults) as ingest:
        asyncio.run(play(ingest))
    return ingest


def test_each_event_learns_its_own_outcome():
    async def story(meterlog):
        assert (await answer(meterlog, 1)).outcome == "recorded"
        assert (await answer(meterlog, 1)).outcome == "duplicate"
        assert (await answer(meterlog, 1, subject="tenant-1")).outcome == "conflict"
        assert (await answer(meterlog, id="")).reason == "ID_EMPTY"

    assert len(run(story).recorded) == 1


def test_a_lost_answer_is_asked_for_again_and_counts_once():
    async def story(meterlog):
        assert (await answer(meterlog)).outcome == "duplicate"

    ingest = run(story, [Fault(grpc.StatusCode.UNAVAILABLE, is_recorded=True)])
    assert len(ingest.recorded) == 1


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_a_passing_failure_loses_nothing(status):
    async def story(meterlog):
        assert (await answer(meterlog)).outcome == "recorded"

    assert len(run(story, [Fault(status)] * 3).batches) == 4


def test_a_refused_call_is_not_repeated_and_says_why():
    async def story(meterlog):
        result = await answer(meterlog)
        assert (result.outcome, result.reason) == ("undelivered", "PERMISSION_DENIED")

    assert len(run(story, [Fault(grpc.StatusCode.PERMISSION_DENIED)]).batches) == 1


def test_events_recorded_together_share_a_request():
    async def story(meterlog):
        for number in range(25):
            await record(meterlog, number)
        await meterlog.flush(WAIT_S)

    ingest = run(story, sending=Sending(batch_events_max=10, linger_s=WAIT_S))
    assert sorted(ingest.batches) == [5, 10, 10]


def test_many_tasks_lose_and_double_nothing_while_the_service_fails():
    async def produce(meterlog, task):
        for number in range(100):
            await record(meterlog, id=f"{task}-{number}")

    async def story(meterlog):
        await asyncio.gather(*(produce(meterlog, task) for task in range(10)))
        await meterlog.flush(WAIT_S)
        counters = meterlog.counters
        assert (counters.taken, counters.unanswered, counters.undelivered) == (1000, 0, 0)

    statuses = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK, grpc.StatusCode.ABORTED] * 10
    faults = [Fault(status, is_recorded=index % 2 == 0) for index, status in enumerate(statuses)]
    sending = Sending(batch_events_max=20, linger_s=0.002, queue_events_max=100, retry=QUICK.retry)
    assert len(run(story, faults, sending).recorded) == 1000


def test_closing_before_the_answer_leaves_no_event_untold():
    gate = threading.Event()
    answers = []

    async def story(meterlog):
        answers.extend([await record(meterlog, number) for number in range(3)])
        await meterlog.close(0.05)
        assert [(await waiting).outcome for waiting in answers] == ["undelivered"] * 3
        gate.set()

    run(story, [Fault(gate=gate)], Sending(linger_s=0.001, batch_events_max=1, in_flight_max=1))


def test_a_flush_that_takes_too_long_says_how_much_is_open():
    gate = threading.Event()

    async def story(meterlog):
        waiting = await record(meterlog)
        with pytest.raises(FlushTimedOut, match="1 usage events have no answer"):
            await meterlog.flush(0.05)
        gate.set()
        assert (await waiting).is_in_log

    run(story, [Fault(gate=gate)])


def test_a_full_queue_raises_when_told_to():
    gate = threading.Event()

    async def story(meterlog):
        await record(meterlog, 1)
        with pytest.raises(QueueFull):
            await record(meterlog, 2)
        gate.set()

    sending = Sending(linger_s=0.001, queue_events_max=1, when_full=WhenFull.RAISE)
    assert len(run(story, [Fault(gate=gate)], sending).recorded) == 1


def test_a_full_queue_makes_the_producer_wait_for_room():
    gate = threading.Event()

    async def story(meterlog):
        await record(meterlog, 1)
        producer = asyncio.create_task(record(meterlog, 2))
        done, _ = await asyncio.wait([producer], timeout=0.05)
        assert not done
        gate.set()
        assert (await asyncio.wait_for(await producer, WAIT_S)).is_in_log

    assert len(run(story, [Fault(gate=gate)], Sending(linger_s=0.001, queue_events_max=1)).recorded) == 2


def test_a_full_queue_lingers_for_nobody():
    async def story(meterlog):
        first = await record(meterlog, 1)
        for number in range(2, 4):
            await record(meterlog, number)
        assert (await asyncio.wait_for(first, WAIT_S / 2)).is_in_log

    run(story, sending=Sending(linger_s=WAIT_S, queue_events_max=2))


def test_giving_up_the_wait_for_a_result_does_not_take_the_event_back():
    gate = threading.Event()

    async def story(meterlog):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(await record(meterlog), 0.02)
        gate.set()
        await meterlog.flush(WAIT_S)
        assert meterlog.counters.recorded == 1

    seen = []
    run(story, [Fault(gate=gate)], on_result=lambda result: seen.append(result.outcome))
    assert seen == ["recorded"]


def test_a_float_is_refused():
    async def story(meterlog):
        with pytest.raises(WrongType, match="value is a float"):
            await record(meterlog, value=0.1)

    assert run(story).batches == ()


def test_an_event_too_large_for_any_request_is_answered():
    async def story(meterlog):
        assert (await answer(meterlog, properties={"text": "x" * 4_000_000})).reason == "EVENT_TOO_LARGE"

    assert run(story).batches == ()


def test_a_client_stays_in_its_loop_and_takes_nothing_when_closed():
    with IngestInMemory() as ingest:
        meterlog = AsyncMeterlog(ingest.address, sending=QUICK)

        async def use_and_close():
            await answer(meterlog)
            await meterlog.close()
            with pytest.raises(ClientClosed, match="was closed"):
                await record(meterlog)

        asyncio.run(use_and_close())
        with pytest.raises(ClientClosed, match="another event loop"):
            asyncio.run(record(meterlog))
