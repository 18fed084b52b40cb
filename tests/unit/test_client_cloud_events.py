"""CloudEvents from the SDK: messages, JSON and members in Python's own types; exact, once, and bounded."""

import asyncio
import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import grpc
import pytest

from meterlog.client import AsyncMeterlog, Meterlog, RetryPolicy, Sending, WrongType, WrongValue, cloud_event
from meterlog.client.testing import Fault, IngestInMemory
from meterlog.ingest.v1.ingest_pb2 import CloudEvent

NOON = datetime(2026, 1, 31, 13, tzinfo=timezone(timedelta(hours=1)))
QUICK = Sending(retry=RetryPolicy(give_up_after_s=60.0, first_delay_s=0.001, delay_max_s=0.01))


def members(number=1, **data):
    return {
        "specversion": "1.0",
        "id": f"req-{number}",
        "source": "gateway-7",
        "type": "llm",
        "subject": "acme",
        "time": NOON,
        "data": data,
    }


def message():
    event = CloudEvent(id="req-1", source="gateway-7", spec_version="1.0", type="llm", text_data='{"value": 1.50}')
    event.attributes["subject"].ce_string = "acme"
    event.attributes["time"].ce_timestamp.FromDatetime(NOON)
    return event


@pytest.fixture
def ingest():
    with IngestInMemory() as service:
        yield service


@pytest.fixture
def meterlog(ingest):
    with Meterlog(ingest.address, sending=QUICK) as client:
        yield client


def test_every_form_is_the_same_usage_event(ingest, meterlog):
    text = json.dumps({**members(), "time": "2026-01-31T12:00:00Z", "data": "…"}).replace(
        '"\\u2026"', '{"value": 1.50}'
    )
    forms = [members(value="1.50"), [members(value=Decimal("1.50"))], [message()], text, text.encode(), f"[{text}]"]
    outcomes = [meterlog.record_cloud_events(form)[0] for form in forms]
    assert [result.outcome for result in outcomes] == ["recorded"] + ["duplicate"] * 5
    assert (outcomes[0].source, outcomes[0].id) == ("gateway-7", "req-1")
    (event,) = ingest.recorded
    assert (event.value, event.subject, event.time.ToJsonString()) == ("1.50", "acme", "2026-01-31T12:00:00Z")


def test_a_lost_answer_is_asked_for_again_and_counts_once():
    lost = [Fault(grpc.StatusCode.UNAVAILABLE, is_recorded=True)]
    with IngestInMemory(lost) as ingest, Meterlog(ingest.address, sending=QUICK) as meterlog:
        (result,) = meterlog.record_cloud_events(members(), backfill="jan")
    assert (result.outcome, len(ingest.recorded), ingest.backfills) == ("duplicate", 1, {"jan"})


def test_what_is_given_up_is_undelivered_and_named():
    refused = [Fault(grpc.StatusCode.PERMISSION_DENIED)]
    with IngestInMemory(refused) as ingest, Meterlog(ingest.address, sending=QUICK) as meterlog:
        results = meterlog.record_cloud_events([members(1), members(2)])
    assert [(result.id, result.outcome) for result in results] == [("req-1", "undelivered"), ("req-2", "undelivered")]


def test_an_event_loop_does_the_same(ingest):
    async def send():
        async with AsyncMeterlog(ingest.address, sending=QUICK) as client:
            return [await client.record_cloud_events(form) for form in (members(value=3), [message()])]

    assert [results[0].outcome for results in asyncio.run(send())] == ["recorded", "conflict"]


@pytest.mark.parametrize(
    ("events", "error", "words"),
    [
        (members(value=0.1), WrongType, r"events\[0\].data.value is a float"),
        (members(value=Decimal("NaN")), WrongValue, r"events\[0\].data.value is NaN"),
        (members(value=object()), WrongType, r"events\[0\].data.value is a object; use an int, a Decimal or text"),
        ({**members(), "time": NOON.replace(tzinfo=None)}, WrongValue, r"events\[0\].time has no time zone"),
        (members(value=10**5000), WrongValue, r"events\[0\].data.value has thousands of digits"),
        ({**members(), 7: "x"}, WrongType, "has a key that is a int"),
        ([members(), message()], WrongType, "use mappings, or messages, not both"),
        (["text"], WrongType, "a CloudEvent is a str"),
        (7, WrongType, "CloudEvents are a int"),
        ([], WrongValue, "0 CloudEvents; send 1 to 10000"),
        ("[]", WrongValue, "0 CloudEvents"),
        ("{", WrongValue, "no JSON text in UTF-8"),
        (b"\xff", WrongValue, "no JSON text in UTF-8"),
        ("[" * 100_000, WrongValue, "no JSON text in UTF-8"),
        (members(note="\ud800"), WrongValue, "half a surrogate pair"),
        ([members()] * 10_001, WrongValue, "10001 CloudEvents"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_nothing_is(ingest, meterlog, events, error, words):
    with pytest.raises(error, match=words):
        meterlog.record_cloud_events(events)
    assert ingest.batches == ()


def test_a_cloud_event_that_holds_itself_is_refused(meterlog):
    data = {}
    data["data"] = data
    with pytest.raises(WrongValue, match="nested too deep, or holds itself"):
        meterlog.record_cloud_events(members(**data))


def test_more_than_a_request_holds_is_refused_before_it_is_sent(ingest, meterlog, monkeypatch):
    monkeypatch.setattr(cloud_event, "CLOUD_EVENT_BYTES_MAX", 50)
    for form in (members(), json.dumps(members(), default=str), [message()]):
        with pytest.raises(WrongValue, match="send at most 50 in a call"):
            meterlog.record_cloud_events(form)
    assert ingest.batches == ()
