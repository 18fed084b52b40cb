"""CloudEvents become usage events: in protobuf and in JSON, one by one, and without a float anywhere."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.ingest.v1.ingest_pb2 import CloudEvent, CloudEventAttributeValue, RecordCloudEventsRequest
from services.ingest import cloud_event_request
from services.ingest.rfc3339 import seconds_and_nanos
from services.kernel.errors import InvalidInput
from services.kernel.timestamp import to_timestamp
from tests.ingest_room import NOON, Replica, Room, open_room, properties_of, usage, words

TIME = "2024-01-31T11:59:00Z"
WHOLE = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "gateway",
    "type": "llm.completion",
    "subject": "tenant-1",
    "time": TIME,
}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with open_room(tmp_path) as opened:
        yield opened


@pytest.fixture
def replica(room: Room) -> Iterator[Replica]:
    with room.replica() as opened:
        yield opened


def send(room: Room, replica: Replica, *events: CloudEvent, **request: Any) -> Any:
    asked = RecordCloudEventsRequest(events=events, **request)
    return room.runner.run(replica.face.RecordCloudEvents(asked, None))  # type: ignore[arg-type]  # no context needed


def send_json(room: Room, replica: Replica, document: Any, **request: Any) -> Any:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return send(room, replica, json=content, **request)


def with_data(data: str) -> bytes:
    """One CloudEvent in JSON, its data as it is written here."""
    return json.dumps({**WHOLE, "data": 0}).replace('"data": 0', f'"data": {data}').encode()


def message(data: str = '{"value": "2", "region": "eu"}', **attributes: CloudEventAttributeValue) -> CloudEvent:
    """The same in protobuf."""
    said = {
        "subject": CloudEventAttributeValue(ce_string="tenant-1"),
        "time": CloudEventAttributeValue(ce_timestamp=to_timestamp(NOON)),
        **attributes,
    }
    return CloudEvent(
        id="e-1", source="gateway", spec_version="1.0", type="llm.completion", attributes=said, text_data=data
    )


def test_a_cloud_event_is_the_usage_event_that_it_says(room: Room, replica: Replica) -> None:
    first = send_json(room, replica, {**WHOLE, "data": {"value": 1, "region": "eu", "tokens": 12.50, "is_paid": True}})

    same = usage("e-1", region="eu", tokens="12.5", is_paid="true")
    assert (words(first.results), room.outcomes(replica, same)) == (["recorded"], ["duplicate"])
    assert first.receipts[0].leaf == room.log()[0].leaf


def test_all_forms_of_one_cloud_event_are_one_usage_event(room: Room, replica: Replica) -> None:
    data = {"value": "2", "region": "eu"}
    encoded = base64.b64encode(json.dumps(data).encode()).decode()
    seconds = CloudEventAttributeValue(ce_string="2024-01-31T13:00:00.000+01:00")
    binary = message()
    binary.binary_data = b'{"region":"eu","value":2.0}'

    answers = [
        send(room, replica, message()),
        send(room, replica, message(time=seconds)),
        send(room, replica, binary),
        send_json(room, replica, {**WHOLE, "time": "2024-01-31T12:00:00Z", "data": data}),
        send_json(room, replica, [{**WHOLE, "time": "2024-01-31t12:00:00z", "data_base64": encoded, "partition": 7}]),
    ]

    assert [words(answer.results) for answer in answers] == [["recorded"], *[["duplicate"]] * 4]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e3", "1000"),
        ("1.5E-3", "0.0015"),
        ("-0", "0"),
        ("12345678901234567890.123456789012", "12345678901234567890.123456789012"),
    ],
)
def test_a_number_is_taken_as_it_is_written(room: Room, replica: Replica, written: str, value: str) -> None:
    """openmeter #4747: a quantity that passes through a float loses digits."""
    send_json(room, replica, with_data(f'{{"value": {written}, "also": {written}}}'))

    assert room.recorded() == [("gateway", "e-1", value)]


@pytest.mark.parametrize(
    ("data", "reason", "field"),
    [
        ('{"value": 1e400}', "NUMBER_NOT_DECIMAL", "value"),
        ('{"value": 1e99}', "VALUE_TOO_MANY_DIGITS", "value"),
        ('{"value": 1e-13}', "VALUE_TOO_MANY_DIGITS", "value"),
        ('{"value": "1e3"}', "VALUE_NOT_DECIMAL", "value"),
        ('{"value": true}', "VALUE_NOT_DECIMAL", "value"),
        ('{"value": {"amount": 1}}', "DATA_NESTED", "value"),
        ('{"tags": ["a"]}', "DATA_NESTED", "properties.tags"),
        ('{"a b": ["a"]}', "DATA_NESTED", "properties"),
        ('{"a b": "c"}', "PROPERTY_KEY_INVALID", "properties"),
        ('{"value": 1, "value": 2}', "DATA_NAME_TWICE", "data"),
        ('{"a": {"b": 1, "b": 2}}', "DATA_NESTED", "properties.a"),
        ('"12"', "DATA_NOT_OBJECT", "data"),
        ("[1]", "DATA_NOT_OBJECT", "data"),
        ('{"note": "\\ud800"}', "TEXT_NOT_UNICODE", ""),
        ('{"note": "a\\u0000b"}', "PROPERTY_HAS_NUL", "properties.note"),
    ],
)
def test_data_that_cannot_be_taken_is_told_by_event(
    room: Room, replica: Replica, data: str, reason: str, field: str
) -> None:
    good = json.dumps({**WHOLE, "id": "good"}).encode()

    response = send_json(room, replica, b"[" + with_data(data) + b"," + good + b"]")

    assert words(response.results) == ["invalid", "recorded"]
    assert (response.results[0].reason, response.results[0].field) == (reason, field)


@pytest.mark.parametrize(
    ("changed", "reason", "field"),
    [
        ({"specversion": "0.3"}, "SPEC_VERSION_UNKNOWN", "spec_version"),
        ({"specversion": None}, "SPEC_VERSION_UNKNOWN", "spec_version"),
        ({"id": 7}, "ATTRIBUTE_NOT_TEXT", "id"),
        ({"id": None}, "ID_EMPTY", "id"),
        ({"subject": None}, "SUBJECT_EMPTY", "subject"),
        ({"time": None}, "TIME_MISSING", "time"),
        ({"time": 1706702400}, "TIME_NOT_RFC3339", "time"),
        ({"time": "2024-01-31"}, "TIME_NOT_RFC3339", "time"),
        ({"time": "2024-02-30T00:00:00Z"}, "TIME_NOT_RFC3339", "time"),
        ({"time": "2024-01-31T11:59:00"}, "TIME_NOT_RFC3339", "time"),
        ({"datacontenttype": "text/xml"}, "DATA_NOT_JSON", "datacontenttype"),
        ({"data_base64": "%%%"}, "DATA_NOT_JSON", "data"),
        ({"data": {"value": 7}, "data_base64": "e30="}, "DATA_TWICE", "data_base64"),
        ({"data_base64": 7}, "DATA_NOT_JSON", "data"),
        ({"source": "backfill/x/y"}, "SOURCE_RESERVED", "source"),
    ],
)
def test_an_attribute_at_fault_is_told_by_event(
    room: Room, replica: Replica, changed: dict[str, Any], reason: str, field: str
) -> None:
    response = send_json(room, replica, [{**WHOLE, **changed}, {**WHOLE, "id": "good"}])

    assert words(response.results) == ["invalid", "recorded"]
    assert (response.results[0].reason, response.results[0].field) == (reason, field)


def test_what_is_no_event_in_a_batch_is_told_in_its_place(room: Room, replica: Replica) -> None:
    response = send_json(room, replica, [7, {**WHOLE}, [], None])

    assert words(response.results) == ["invalid", "recorded", "invalid", "invalid"]
    assert {result.reason for result in response.results} == {"EVENT_NOT_OBJECT", ""}


def test_protobuf_attributes_of_other_types_are_refused_by_event(room: Room, replica: Replica) -> None:
    odd = [
        message(subject=CloudEventAttributeValue(ce_integer=7)),
        message(time=CloudEventAttributeValue(ce_boolean=True)),
        message(time=CloudEventAttributeValue(ce_timestamp=Timestamp(seconds=2**40))),
        message(data="{"),
        message(data='{"a":' * 5_000),
    ]

    response = send(room, replica, *odd)

    assert [result.reason for result in response.results] == [
        "ATTRIBUTE_NOT_TEXT", "TIME_NOT_RFC3339", "TIME_OUT_OF_RANGE", "DATA_NOT_JSON", "DATA_NOT_JSON",
    ]  # fmt: skip


def test_data_that_is_a_protobuf_message_is_refused_and_never_counts_one(room: Room, replica: Replica) -> None:
    event = message()
    event.proto_data.value = b"7"

    response = send(room, replica, event)

    assert [(result.reason, result.field) for result in response.results] == [("DATA_NOT_JSON", "proto_data")]
    assert room.recorded() == []


def test_an_event_without_data_counts_one(room: Room, replica: Replica) -> None:
    assert words(send_json(room, replica, WHOLE).results) == ["recorded"]
    assert room.recorded() == [("gateway", "e-1", "1")]
    assert properties_of(room.log()[0]) == [{}]


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b'{"a": NaN}', b'"' + b"x" * 100])
def test_json_that_cannot_be_read_is_refused_whole(room: Room, replica: Replica, content: bytes) -> None:
    with pytest.raises(InvalidInput) as refused:
        send_json(room, replica, content)
    assert (refused.value.reason, refused.value.field) == ("JSON_UNREADABLE", "json")


def test_a_document_of_too_many_parts_is_refused_unread(
    room: Room, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud_event_request, "JSON_PARTS_MAX", 100)

    with pytest.raises(InvalidInput) as refused:
        send_json(room, replica, [[]] * 100)
    assert refused.value.reason == "JSON_TOO_LARGE"


def test_both_forms_and_none_and_too_many_are_refused_whole(room: Room, replica: Replica) -> None:
    for request, reason in (
        (RecordCloudEventsRequest(), "ONE_FORM"),
        (RecordCloudEventsRequest(events=[message()], json=b"{}"), "ONE_FORM"),
        (RecordCloudEventsRequest(json=b"[]"), "BATCH_SIZE"),
        (RecordCloudEventsRequest(json=b"[" + b"0," * 10_000 + b"0]"), "BATCH_SIZE"),
        (RecordCloudEventsRequest(events=[message()] * 10_001), "BATCH_SIZE"),
    ):
        with pytest.raises(InvalidInput) as refused:
            room.runner.run(replica.face.RecordCloudEvents(request, None))  # type: ignore[arg-type]  # no context needed
        assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("1970-01-01T00:00:00Z", (0, 0)),
        ("1969-12-31T23:59:59.999999999Z", (-1, 999_999_999)),
        ("2024-01-31T12:00:00.1234567891Z", (1_706_702_400, 123_456_789)),
        ("2024-01-31T17:45:00.5+05:45", (1_706_702_400, 500_000_000)),
        ("2024-01-31T02:30:00-09:30", (1_706_702_400, 0)),
        ("0001-01-01T00:00:00Z", (-62_135_596_800, 0)),
    ],
)
def test_rfc_3339_is_read_to_the_nanosecond(text: str, instant: tuple[int, int]) -> None:
    """lago #6209: ISO 8601 read to the second loses the milliseconds, and another event is meant."""
    assert seconds_and_nanos(text) == instant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2024-01-31T24:00:00Z",
        "2016-12-31T23:59:60Z",
        "2024-01-31T12:00:00+24:00",
        "２024-01-31T12:00:00Z",
        "0000-01-01T00:00:00Z",
    ],
)
def test_what_is_no_instant_is_not_guessed(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        seconds_and_nanos(text)
