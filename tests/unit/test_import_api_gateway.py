"""Logs of AWS API Gateway: the gateway's request ids are the ids, and nothing needs a mapping."""

import json

import pytest

from meterlog.client.testing import IngestInMemory
from services.cli.importing.command import import_usage
from services.cli.importing.web_request import SubjectFrom, WebLogOptions

CALL = {
    "request_id": "r-1",
    "ip": "192.0.2.1",
    "user": "acme",
    "request_time": "1767258000123",
    "http_method": "GET",
    "resource_path": "/v1/pets/{id}",
    "status": "200",
    "protocol": "HTTP/1.1",
    "response_length": "42",
}


@pytest.fixture
def ingest():
    with IngestInMemory() as service:
        yield service


def imported(folder, ingest, *calls, **options):
    file = folder / "gateway.log"
    file.write_text("".join((call if isinstance(call, str) else json.dumps(call)) + "\n" for call in calls))
    return import_usage(file, address=ingest.address, var=folder / "var", **options)


def test_a_call_becomes_a_usage_event_with_the_gateways_id(tmp_path, ingest):
    imported(tmp_path, ingest, CALL, web=WebLogOptions(SubjectFrom.USER, prefix_segments=2))
    [event] = ingest.recorded
    assert (event.id, event.source, event.subject) == ("r-1", "api-gateway", "acme")
    assert event.time.ToJsonString() == "2026-01-01T09:00:00.123Z"
    assert dict(event.properties) == {
        "method": "GET",
        "path": "/v1/pets/{id}",
        "path_prefix": "/v1/pets",
        "status": "200",
        "status_class": "2xx",
        "bytes": "42",
        "protocol": "HTTP/1.1",
    }


def test_numbers_may_stand_as_numbers_and_what_is_not_there_is_zero(tmp_path, ingest):
    numbers = {**CALL, "request_time": 1767258000123, "status": 204, "response_length": "-"}
    absent = {name: value for name, value in CALL.items() if name != "response_length"} | {"request_id": "r-2"}
    summary = imported(tmp_path, ingest, numbers, absent)
    assert summary.is_clean
    assert [event.properties["bytes"] for event in ingest.recorded] == ["0", "0"]


def test_importing_again_finds_duplicates_and_a_changed_call_is_a_conflict(tmp_path, ingest):
    imported(tmp_path, ingest, CALL)
    summary = imported(tmp_path, ingest, CALL, {**CALL, "response_length": "43"})
    assert (summary.duplicate, summary.conflict) == (1, 1)
    assert [(each.line, each.reason) for each in summary.problems] == [(2, "CONTENT_DIFFERS")]


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"request_id": "-"}, "id", "MEMBER_MISSING"),
        ({"request_time": "2026-01-01"}, "time", "NOT_A_WHOLE_NUMBER"),
        ({"request_time": 1767258000.5}, "time", "NOT_A_WHOLE_NUMBER"),
        ({"ip": None}, "subject", "MEMBER_MISSING"),
        ({"status": "ok"}, "properties.status", "BAD_STATUS"),
        ({"response_length": "-1"}, "properties.bytes", "NOT_A_WHOLE_NUMBER"),
        ({"resource_path": ["/"]}, "properties.path", "NOT_A_TEXT"),
        ({"http_method": True}, "properties.method", "NOT_A_TEXT"),
    ],
)
def test_a_malformed_call_is_told_and_stops_no_other(tmp_path, ingest, change, field, reason):
    summary = imported(tmp_path, ingest, {**CALL, **change}, {**CALL, "request_id": "r-2"})
    assert [(each.line, each.field, each.reason) for each in summary.problems] == [(1, field, reason)]
    assert [event.id for event in ingest.recorded] == ["r-2"]


def test_a_line_that_is_no_json_is_told(tmp_path, ingest):
    summary = imported(tmp_path, ingest, CALL, "{", "[1]", '{"request_id": NaN}')
    assert [(each.line, each.reason) for each in summary.problems] == [
        (2, "BAD_JSON"),
        (3, "NOT_AN_OBJECT"),
        (4, "BAD_JSON"),
    ]
