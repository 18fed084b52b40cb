"""How a row becomes a usage event, and when it cannot."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from services.cli.importing.conversion import convert
from services.cli.importing.mapping import parse_mapping
from services.cli.importing.row import Problem, Row
from services.cli.importing.time_format import TIME_FORMATS
from services.kernel.clock import epoch_us

TRACE = {
    "source": "{file}",
    "id": "row-{row}",
    "type": "llm.completion",
    "subject": "tenant-{row % 8}",
    "time": {"column": "TIMESTAMP"},
    "properties": {"input_tokens": {"number": "{ContextTokens}"}, "region": "{Region}"},
}
COLUMNS = {"TIMESTAMP": "2023-11-16 18:15:46.6805900", "ContextTokens": "374"}


def converted(mapping=TRACE, **columns):
    row = Row(line=11, number=9, columns={**COLUMNS, **columns})
    return convert(row, parse_mapping(mapping), "trace.csv")


def read(name, text, zone="UTC"):
    return TIME_FORMATS[name].read(text, ZoneInfo(zone))


def test_a_row_of_the_trace_becomes_its_usage_event():
    event = converted()
    assert (event.source, event.id, event.type, event.subject) == ("trace.csv", "row-9", "llm.completion", "tenant-1")
    assert (event.time.seconds, event.time.nanos) == (1_700_158_546, 680_590_000)
    assert dict(event.properties) == {"input_tokens": "374"}
    assert event.value == ""


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("2023-11-16 18:15:46.6805900", 1_700_158_546_680_590),
        ("2023-11-16 18:15:46.9999999", 1_700_158_546_999_999),
        ("2023-11-16T18:15:46Z", 1_700_158_546_000_000),
        ("2023-11-16T19:15:46.5+01:00", 1_700_158_546_500_000),
        ("2023-11-16", 1_700_092_800_000_000),
        ("1969-12-31 23:59:59.9999999", -1),
    ],
)
def test_iso_8601_is_cut_to_microseconds(text, microseconds):
    assert epoch_us(read("iso8601", text)) == microseconds


def test_an_instant_without_zone_is_in_the_mappings_zone():
    assert read("iso8601", "2024-07-01 12:00:00", "Europe/Berlin") == datetime(2024, 7, 1, 10, tzinfo=UTC)
    assert read("iso8601", "2024-07-01T12:00:00Z", "Europe/Berlin") == datetime(2024, 7, 1, 12, tzinfo=UTC)


def test_an_hour_that_the_clock_shows_twice_means_its_first_occurrence():
    assert read("iso8601", "2024-10-27 02:30:00", "Europe/Berlin") == datetime(2024, 10, 27, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "text", "microseconds"),
    [
        ("unix_seconds", "1700158546", 1_700_158_546_000_000),
        ("unix_seconds", "1700158546.6805909", 1_700_158_546_680_590),
        ("unix_seconds", "-1.5", -1_500_000),
        ("unix_milliseconds", "1700158546680.59", 1_700_158_546_680_590),
        ("unix_milliseconds", "0", 0),
    ],
)
def test_seconds_and_milliseconds_since_1970_are_exact(name, text, microseconds):
    assert epoch_us(read(name, text)) == microseconds


@pytest.mark.parametrize("name", sorted(TIME_FORMATS))
@pytest.mark.parametrize("text", ["", " ", "soon", "1e9", "NaN", "99999999999999999", "2023-13-01", "2023-11-16 25:00"])
def test_other_texts_are_no_instants(name, text):
    with pytest.raises((ValueError, OverflowError)):
        read(name, text)


@pytest.mark.parametrize("name", sorted(TIME_FORMATS))
def test_every_format_reads_its_own_example(name):
    assert read(name, TIME_FORMATS[name].example) == datetime(2023, 11, 16, 18, 15, 46, 680590, tzinfo=UTC)


@pytest.mark.parametrize(
    ("columns", "field", "reason"),
    [
        ({"TIMESTAMP": "yesterday"}, "time", "BAD_TIME"),
        ({"TIMESTAMP": ""}, "time", "BAD_TIME"),
        ({"ContextTokens": ""}, "properties.input_tokens", "NOT_A_DECIMAL"),
        ({"ContextTokens": "abc"}, "properties.input_tokens", "NOT_A_DECIMAL"),
        ({"ContextTokens": " 374"}, "properties.input_tokens", "NOT_A_DECIMAL"),
        ({"ContextTokens": "1e3"}, "properties.input_tokens", "NOT_A_DECIMAL"),
        ({"ContextTokens": "NaN"}, "properties.input_tokens", "NOT_A_DECIMAL"),
        ({"Region": "\ud800"}, "", "NOT_UNICODE"),
        ({"Region": "x" * 4_000_000}, "", "EVENT_TOO_LARGE"),
    ],
)
def test_a_row_that_cannot_be_a_usage_event_says_its_line_and_field(columns, field, reason):
    problem = converted(**columns)
    assert isinstance(problem, Problem)
    assert (problem.line, problem.field, problem.reason) == (11, field, reason)


def test_an_absent_column_is_a_problem_where_it_is_needed():
    mapping = {**TRACE, "subject": "{customer}", "time": {"column": "At"}}
    problem = converted(mapping)
    assert (problem.field, problem.reason) == ("subject", "COLUMN_MISSING")
    assert '"customer"' in problem.message
    assert converted({**TRACE, "time": {"column": "At"}}).field == "time"


def test_a_text_property_without_text_is_left_out():
    assert dict(converted(Region="").properties) == {"input_tokens": "374"}
    assert dict(converted(Region="eu").properties) == {"input_tokens": "374", "region": "eu"}


def test_a_value_column_must_hold_a_number_and_is_never_taken_for_the_default():
    mapping = {**TRACE, "value": "{Amount}"}
    assert converted(mapping, Amount="12.50").value == "12.50"
    assert converted(mapping, Amount="").reason == "NOT_A_DECIMAL"
    assert converted(mapping).reason == "COLUMN_MISSING"


def test_what_a_message_shows_of_a_file_cannot_steer_a_terminal():
    message = converted(TIMESTAMP="\x1b[2J\x9b5m\u202e" + "x" * 1000).message
    assert message.isprintable()
    assert "\\u001b[2J" in message
    assert len(message) < 250
