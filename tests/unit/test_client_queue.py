"""The queue of the client for programs with threads: its bounds, its batches, its end."""

import socket
import threading
from datetime import UTC, datetime

import grpc
import pytest

from meterlog.client import (
    ClientClosed,
    FlushTimedOut,
    Meterlog,
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
IMPATIENT = Sending(linger_s=0.005, retry=RetryPolicy(give_up_after_s=0.05, first_delay_s=0.001, delay_max_s=0.01))


def client(ingest, sending=QUICK, **settings):
    return Meterlog(ingest.address, sending=sending, **settings)


def record(meterlog, number=0, **changes):
    arguments = {"id": f"id-{number}", "source": "gateway", "type": "llm.completion", "subject": "tenant-0"}
    return meterlog.record(**{**arguments, "time": NOON, **changes})


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_events_recorded_together_share_a_request():
    sending = Sending(batch_events_max=10, linger_s=WAIT_S)
    with IngestInMemory() as ingest, client(ingest, sending) as meterlog:
        for number in range(25):
            record(meterlog, number)
        meterlog.flush(WAIT_S)
        assert len(ingest.recorded) == 25
        assert sorted(ingest.batches) == [5, 10, 10]


def test_a_lone_event_goes_out_after_the_linger():
    with IngestInMemory() as ingest, client(ingest, Sending(linger_s=0.01)) as meterlog:
        assert record(meterlog).result(WAIT_S).is_in_log
        assert ingest.batches == (1,)


def test_closing_flushes_without_lingering():
    with IngestInMemory() as ingest:
        with client(ingest, Sending(linger_s=WAIT_S)) as meterlog:
            answer = record(meterlog)
        assert answer.result(0).is_in_log
        assert len(ingest.recorded) == 1


def test_a_flush_that_takes_too_long_says_how_much_is_open():
    gate = threading.Event()
    with IngestInMemory([Fault(gate=gate)]) as ingest, client(ingest) as meterlog:
        answer = record(meterlog)
        with pytest.raises(FlushTimedOut, match="1 usage events have no answer"):
            meterlog.flush(0.05)
        gate.set()
        assert answer.result(WAIT_S).is_in_log


def test_closing_before_the_answer_leaves_no_event_untold(caplog):
    gate = threading.Event()
    sending = Sending(linger_s=0.001, batch_events_max=1, in_flight_max=1)
    with IngestInMemory([Fault(gate=gate)]) as ingest:
        meterlog = client(ingest, sending)
        answers = [record(meterlog, number) for number in range(3)]
        meterlog.close(timeout_s=0.05)
        gate.set()
        assert [answer.result(WAIT_S).outcome for answer in answers] == ["undelivered"] * 3
        assert meterlog.counters.undelivered == 3
    assert "closing before every answer came" in caplog.text


def test_a_full_queue_raises_when_told_to():
    gate = threading.Event()
    sending = Sending(linger_s=0.001, queue_events_max=2, when_full=WhenFull.RAISE)
    with IngestInMemory([Fault(gate=gate)]) as ingest, client(ingest, sending) as meterlog:
        answers = [record(meterlog, 1), record(meterlog, 2)]
        with pytest.raises(QueueFull, match="queue is full"):
            record(meterlog, 3)
        gate.set()
        assert all(answer.result(WAIT_S).is_in_log for answer in answers)
        assert record(meterlog, 3).result(WAIT_S).outcome == "recorded"


def test_a_full_queue_makes_the_producer_wait_for_room():
    gate = threading.Event()
    sending = Sending(linger_s=0.001, queue_events_max=1, block_timeout_s=WAIT_S)
    with IngestInMemory([Fault(gate=gate)]) as ingest, client(ingest, sending) as meterlog:
        record(meterlog, 1)
        producer = threading.Thread(daemon=True, target=record, args=(meterlog, 2))
        producer.start()
        producer.join(0.05)
        assert producer.is_alive()
        gate.set()
        producer.join(WAIT_S)
        meterlog.flush(WAIT_S)
        assert len(ingest.recorded) == 2


def test_a_full_queue_lingers_for_nobody():
    sending = Sending(linger_s=WAIT_S, queue_events_max=2, block_timeout_s=WAIT_S)
    with IngestInMemory() as ingest, client(ingest, sending) as meterlog:
        first = record(meterlog, 1)
        for number in range(2, 4):
            record(meterlog, number)
        assert first.result(WAIT_S / 2).is_in_log


def test_the_wait_for_room_is_bounded():
    gate = threading.Event()
    sending = Sending(linger_s=0.001, queue_events_max=1, block_timeout_s=0.05)
    with IngestInMemory([Fault(gate=gate)]) as ingest, client(ingest, sending) as meterlog:
        record(meterlog, 1)
        with pytest.raises(QueueFull):
            record(meterlog, 2)
        gate.set()


def test_many_threads_lose_and_double_nothing_while_the_service_fails():
    statuses = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OK] * 20
    faults = [Fault(status, is_recorded=index % 2 == 0) for index, status in enumerate(statuses)]
    sending = Sending(batch_events_max=20, linger_s=0.002, queue_events_max=100, retry=QUICK.retry)
    with IngestInMemory(faults) as ingest, client(ingest, sending) as meterlog:

        def produce(thread):
            for number in range(200):
                record(meterlog, id=f"{thread}-{number}")

        threads = [threading.Thread(daemon=True, target=produce, args=(thread,)) for thread in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        meterlog.flush(WAIT_S)
        counters = meterlog.counters
    assert len(ingest.recorded) == 1000
    assert (counters.taken, counters.unanswered, counters.undelivered) == (1000, 0, 0)
    assert counters.recorded + counters.duplicate == 1000


def test_an_event_too_large_for_any_request_is_answered_and_its_neighbours_are_recorded():
    with IngestInMemory() as ingest, client(ingest) as meterlog:
        large = record(meterlog, 1, properties={"text": "x" * 4_000_000})
        small = record(meterlog, 2)
        assert (large.result(WAIT_S).outcome, large.result().reason) == ("invalid", "EVENT_TOO_LARGE")
        assert small.result(WAIT_S).outcome == "recorded"
        assert meterlog.counters.invalid == 1


def test_a_refused_argument_queues_nothing():
    with IngestInMemory() as ingest, client(ingest) as meterlog:
        with pytest.raises(WrongType):
            record(meterlog, value=0.5)
        assert meterlog.counters.taken == 0
        assert ingest.batches == ()


def test_a_closed_client_takes_nothing():
    with IngestInMemory() as ingest:
        meterlog = client(ingest)
        meterlog.close()
        meterlog.close()
        with pytest.raises(ClientClosed):
            record(meterlog)
