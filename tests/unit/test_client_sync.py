"""The client for programs with threads, against an ingest service in memory that fails as scripted."""

import logging
import socket
import threading
from datetime import UTC, datetime

import grpc
import pytest

from meterlog.client import (
    Meterlog,
    NotRecorded,
    RetryPolicy,
    Sending,
    UsageOutcome,
    WrongValue,
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


def test_a_recorded_usage_event_is_answered_with_its_position():
    with IngestInMemory() as ingest, client(ingest) as meterlog:
        result = record(meterlog, properties={"input_tokens": 374}).result(WAIT_S)
    assert (result.outcome, result.position, result.is_in_log) == (UsageOutcome.RECORDED, 1, True)
    assert ingest.recorded[0].properties["input_tokens"] == "374"


def test_each_event_of_a_batch_learns_its_own_outcome():
    with IngestInMemory() as ingest, client(ingest) as meterlog:
        record(meterlog, 1).result(WAIT_S)
        answers = [
            record(meterlog, 1),
            record(meterlog, 1, subject="tenant-1"),
            record(meterlog, id=""),
            record(meterlog),
        ]
        results = [answer.result(WAIT_S) for answer in answers]
    assert [result.outcome for result in results] == ["duplicate", "conflict", "invalid", "recorded"]
    assert (results[2].field, results[2].reason, results[2].message) == ("id", "ID_EMPTY", "id is empty; set it")
    results[0].require_in_log()
    with pytest.raises(NotRecorded, match="is conflict: recorded before with other content"):
        results[1].require_in_log()


def test_a_lost_answer_is_asked_for_again_and_counts_once():
    lost = Fault(grpc.StatusCode.UNAVAILABLE, is_recorded=True)
    with IngestInMemory([lost, lost]) as ingest, client(ingest) as meterlog:
        result = record(meterlog).result(WAIT_S)
    assert (result.outcome, result.is_in_log) == (UsageOutcome.DUPLICATE, True)
    assert len(ingest.recorded) == 1
    assert len(ingest.batches) == 3


@pytest.mark.parametrize(
    "status",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
    ],
)
def test_a_passing_failure_loses_nothing(status):
    with IngestInMemory([Fault(status)] * 3) as ingest, client(ingest) as meterlog:
        results = [record(meterlog, number).result(WAIT_S) for number in range(3)]
    assert {result.outcome for result in results} == {UsageOutcome.RECORDED}
    assert [event.id for event in ingest.recorded] == ["id-0", "id-1", "id-2"]


def test_a_service_that_answers_too_late_is_asked_again():
    gate = threading.Event()
    sending = Sending(linger_s=0.001, retry=RetryPolicy(call_timeout_s=0.2, first_delay_s=0.001))
    with IngestInMemory([Fault(gate=gate)]) as ingest, client(ingest, sending) as meterlog:
        result = record(meterlog).result(WAIT_S)
        gate.set()
    assert result.is_in_log
    assert len(ingest.recorded) == 1


def test_a_refused_call_is_not_repeated_and_says_why(caplog):
    with IngestInMemory([Fault(grpc.StatusCode.UNAUTHENTICATED)]) as ingest, client(ingest) as meterlog:
        result = record(meterlog).result(WAIT_S)
    assert (result.outcome, result.reason) == (UsageOutcome.UNDELIVERED, "UNAUTHENTICATED")
    assert len(ingest.batches) == 1
    assert "1 usage events were given up" in caplog.text


def test_a_service_that_stays_away_is_given_up_after_the_total_time(caplog):
    with Meterlog(f"127.0.0.1:{closed_port()}", sending=IMPATIENT) as meterlog:
        result = record(meterlog).result(WAIT_S)
    assert (result.outcome, result.reason) == (UsageOutcome.UNDELIVERED, "UNAVAILABLE")
    assert "given up" in caplog.text


def test_the_callback_sees_every_result_and_its_error_hurts_nobody(caplog):
    seen = []

    def on_result(result):
        seen.append(result.id)
        raise RuntimeError("a bug of the caller")

    with IngestInMemory() as ingest, client(ingest, on_result=on_result) as meterlog:
        answers = [record(meterlog, number) for number in range(3)]
        assert all(answer.result(WAIT_S).is_in_log for answer in answers)
        assert record(meterlog, 3).result(WAIT_S).is_in_log
    assert sorted(seen) == ["id-0", "id-1", "id-2", "id-3"]
    assert "a bug of the caller" in caplog.text


def test_a_future_cannot_be_cancelled():
    with IngestInMemory() as ingest, client(ingest) as meterlog:
        answer = record(meterlog)
        assert not answer.cancel()
        assert answer.result(WAIT_S).is_in_log


def test_what_is_left_out_is_filled_in():
    with IngestInMemory() as ingest, client(ingest) as meterlog:
        results = [meterlog.record(type="t", subject="s").result(WAIT_S) for _ in range(2)]
        assert {result.source for result in results} == {meterlog.source}
        assert results[0].id != results[1].id
        assert ingest.recorded[0].time.seconds > NOON.timestamp()
        assert ingest.recorded[0].value == ""


def test_the_key_of_the_argument_or_the_environment_is_sent(monkeypatch):
    monkeypatch.setenv("METERLOG_API_KEY", "from-environment\n")
    with IngestInMemory() as ingest:
        with client(ingest) as first:
            record(first, 1)
        with client(ingest, api_key="from-argument") as second:
            record(second, 2)
        assert ingest.api_keys == {"from-environment", "from-argument"}


def test_a_key_that_cannot_be_sent_is_refused_without_being_shown():
    with pytest.raises(WrongValue) as refusal:
        Meterlog(api_key="geheim-ü")
    assert "geheim" not in str(refusal.value)


def test_refused_usage_is_in_the_log_of_the_program(caplog):
    caplog.set_level(logging.WARNING, "meterlog.client")
    with IngestInMemory() as ingest, client(ingest) as meterlog:
        record(meterlog, id="")
    assert "1 usage events were refused" in caplog.text
    assert "ID_EMPTY" in caplog.text


def test_a_restart_of_the_service_is_survived():
    first = IngestInMemory()
    with first, client(first) as meterlog:
        assert record(meterlog, 1).result(WAIT_S).is_in_log
        first.__exit__(None, None, None)
        answer = record(meterlog, 2)
        with IngestInMemory(address=first.address) as second:
            assert answer.result(WAIT_S).is_in_log
            assert [event.id for event in second.recorded] == ["id-2"]
