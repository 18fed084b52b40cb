"""Recording over one stream: in order, bounded, and whole over broken connections."""

import asyncio
import threading

import grpc
import pytest

from meterlog.client import AsyncMeterlog, Meterlog, RetryPolicy, Sending
from meterlog.client.result import UsageOutcome
from meterlog.client.stream import StreamWindow
from meterlog.client.testing import Fault, IngestInMemory
from meterlog.ingest.v1.ingest_pb2 import (
    USAGE_OUTCOME_RECORDED,
    BatchRefusal,
    RecordUsageStreamResponse,
    UsageEvent,
    UsageResult,
)

QUICK = Sending(retry=RetryPolicy(give_up_after_s=60.0, call_timeout_s=60.0, first_delay_s=0.001, delay_max_s=0.01))
IMPATIENT = Sending(retry=RetryPolicy(give_up_after_s=0.0, call_timeout_s=0.2))
ONE_TRY = Sending(retry=RetryPolicy(give_up_after_s=0.0, call_timeout_s=60.0))


def batches(client, count, rows=3):
    for number in range(count):
        yield [client.event(type="t", subject="acme", id=f"{number}-{row}", source="s") for row in range(rows)]


def test_every_batch_is_answered_in_order():
    with IngestInMemory() as ingest, Meterlog(ingest.address, sending=QUICK) as client:
        answers = list(client.record_stream(batches(client, 40), backfill="b"))
    assert [[result.id for result in results] for results in answers] == [
        [f"{number}-{row}" for row in range(3)] for number in range(40)
    ]
    assert {result.outcome for results in answers for result in results} == {UsageOutcome.RECORDED}
    assert ingest.backfills == {"b"}


def test_a_broken_stream_is_opened_again_and_loses_and_doubles_nothing():
    lost = Fault(grpc.StatusCode.UNAVAILABLE, is_recorded=True)
    down = Fault(grpc.StatusCode.UNAVAILABLE)
    faults = [Fault(), lost, Fault(), down, down, Fault(), lost] * 3
    with IngestInMemory(faults) as ingest, Meterlog(ingest.address, sending=QUICK) as client:
        answers = list(client.record_stream(batches(client, 60)))
    assert all(result.is_in_log for results in answers for result in results)
    assert len(ingest.recorded) == 180 == sum(map(len, answers))


def test_it_reads_no_further_ahead_than_its_window():
    read = []

    def counted(client):
        for batch in batches(client, 100):
            read.append(len(batch))
            yield batch

    with IngestInMemory() as ingest, Meterlog(ingest.address, sending=QUICK) as client:
        stream = client.record_stream(counted(client))
        next(stream)
        assert len(read) <= 9
        stream.close()


@pytest.mark.parametrize("fault", [Fault(grpc.StatusCode.PERMISSION_DENIED), Fault(grpc.StatusCode.UNAVAILABLE)])
def test_what_is_given_up_is_undelivered_and_the_stream_goes_on(fault):
    with IngestInMemory([fault]) as ingest, Meterlog(ingest.address, sending=ONE_TRY) as client:
        answers = list(client.record_stream(batches(client, 12)))
    outcomes = [results[0].outcome for results in answers]
    assert len(outcomes) == 12
    assert outcomes[0] == UsageOutcome.UNDELIVERED
    assert outcomes[-1] == UsageOutcome.RECORDED


def test_a_service_that_never_answers_is_not_waited_for_without_end():
    gate = threading.Event()
    with IngestInMemory([Fault(gate=gate)]) as ingest, Meterlog(ingest.address, sending=IMPATIENT) as client:
        [results] = client.record_stream(batches(client, 1))
        gate.set()
    assert (results[0].outcome, results[0].reason) == (UsageOutcome.UNDELIVERED, "STREAM_STALLED")


def test_the_asyncio_client_streams_over_broken_connections_too():
    async def record(address):
        async with AsyncMeterlog(address, sending=QUICK) as client:
            return [results async for results in client.record_stream(batches(client, 30))]

    lost = Fault(grpc.StatusCode.UNAVAILABLE, is_recorded=True)
    with IngestInMemory([Fault(), lost, Fault()] * 4) as ingest:
        answers = asyncio.run(record(ingest.address))
    assert [results[0].id for results in answers] == [f"{number}-0" for number in range(30)]
    assert len(ingest.recorded) == 90


def test_a_refusal_that_may_pass_is_sent_again_and_another_is_the_answer():
    window = StreamWindow(4, False, "")
    window.add([UsageEvent(id="1")])
    window.add([UsageEvent(id="2")])
    busy = RecordUsageStreamResponse(sequence=1, refusal=BatchRefusal(code=8, reason="LOG_BUSY", message="wait"))
    assert window.answer(busy).reason == "LOG_BUSY"
    assert [request.sequence for request in window.unanswered()] == [1, 2]
    wrong = RecordUsageStreamResponse(sequence=2, refusal=BatchRefusal(code=5, reason="NO_BACKFILL", message="none"))
    assert window.answer(wrong) is None
    assert window.take_ready() == []
    recorded = UsageResult(outcome=USAGE_OUTCOME_RECORDED, position=7)
    window.answer(RecordUsageStreamResponse(sequence=1, results=[recorded]))
    first, second = window.take_ready()
    assert (first[0].position, second[0].reason, second[0].outcome) == (7, "NO_BACKFILL", "undelivered")
