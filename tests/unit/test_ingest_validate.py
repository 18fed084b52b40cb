"""A malformed usage event is answered by itself, with the field and what to do; its neighbours are recorded."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.ingest.v1.ingest_pb2 import UsageEvent
from services.ingest.usage_rows import UsageRows
from services.ingest.validate import Validated, validate
from services.kernel.clock import epoch_us
from services.kernel.timestamp import to_timestamp
from tests.ingest_room import NOON, usage

Change = Callable[[UsageEvent], None]


def field(name: str, value: object) -> Change:
    return lambda event: setattr(event, name, value)


def time(seconds: int, nanos: int = 0) -> Change:
    return lambda event: event.time.CopyFrom(Timestamp(seconds=seconds, nanos=nanos))


def at(offset: timedelta) -> Change:
    return lambda event: event.time.CopyFrom(to_timestamp(NOON + offset))


def properties(**texts: str) -> Change:
    return lambda event: event.properties.update(texts)


def named(key: str) -> Change:
    return properties(**{key: "x"})


def checked(*events: UsageEvent) -> Validated:
    return validate(events, epoch_us(NOON))


def rows(validated: Validated) -> UsageRows:
    assert isinstance(validated.usage, UsageRows)
    return validated.usage


MALFORMED: list[tuple[str, Change, str, str]] = [
    ("no id", field("id", ""), "ID_EMPTY", "id"),
    ("a long id", field("id", "x" * 257), "ID_TOO_LONG", "id"),
    ("an id of a million characters", field("id", "x" * 1_000_000), "ID_TOO_LONG", "id"),
    ("a line break in the id", field("id", "a\nb"), "ID_CONTROL_CHARACTER", "id"),
    ("a NUL in the id", field("id", "a\0"), "ID_CONTROL_CHARACTER", "id"),
    ("a C1 control character in the id", field("id", "\x85"), "ID_CONTROL_CHARACTER", "id"),
    ("no source", field("source", ""), "SOURCE_EMPTY", "source"),
    ("a long source", field("source", "é" * 257), "SOURCE_TOO_LONG", "source"),
    ("a tab in the source", field("source", "a\tb"), "SOURCE_CONTROL_CHARACTER", "source"),
    ("no type", field("type", ""), "TYPE_EMPTY", "type"),
    ("a long type", field("type", "x" * 300), "TYPE_TOO_LONG", "type"),
    ("no subject", field("subject", ""), "SUBJECT_EMPTY", "subject"),
    ("a delete character in the subject", field("subject", "a\x7f"), "SUBJECT_CONTROL_CHARACTER", "subject"),
    ("no time", lambda event: event.ClearField("time"), "TIME_MISSING", "time"),
    ("time before the year 1", time(-62_135_596_801), "TIME_OUT_OF_RANGE", "time"),
    ("time after the year 9999", time(253_402_300_800), "TIME_OUT_OF_RANGE", "time"),
    ("time in milliseconds", time(1_706_702_400_000), "TIME_OUT_OF_RANGE", "time"),
    ("the largest time", time(2**63 - 1, 2**31 - 1), "TIME_OUT_OF_RANGE", "time"),
    ("negative nanos", time(1_706_702_400, -1), "TIME_OUT_OF_RANGE", "time"),
    ("a whole second of nanos", time(1_706_702_400, 1_000_000_000), "TIME_OUT_OF_RANGE", "time"),
    ("a day and a microsecond ahead", at(timedelta(days=1, microseconds=1)), "TIME_IN_FUTURE", "time"),
    ("the year 9999", time(253_402_300_799), "TIME_IN_FUTURE", "time"),
    *((f"value {text!r}", field("value", text), "VALUE_NOT_DECIMAL", "value") for text in (
        "NaN", "Infinity", "-Infinity", "1e400", "1E3", "1,5", "1_000", "٣", "１", "+1", " 1", "1 ", "1\n", "1.", ".5",
        "--1", "-", "0x10", "one", "1.2.3", "\0", "1" * 1_000_000 + "x",
    )),
    *((f"value {text[:40]!r}", field("value", text), "VALUE_TOO_MANY_DIGITS", "value") for text in (
        "1" * 27, "-" + "1" * 27, "0.1234567890123", "0" * 27, "1" * 1_000_000,
    )),
    ("65 properties", properties(**{f"k{n}": "x" for n in range(65)}), "PROPERTIES_TOO_MANY", "properties"),
    *((f"a property named {key[:20]!r}", named(key), "PROPERTY_KEY_INVALID", "properties") for key in (
        "", "1st", "-a", ".a", "a b", "a\n", "größe", "a/b", "a\0", "k" * 65, "k" * 1_000_000,
    )),
    ("a long property", properties(region="x" * 1_025), "PROPERTY_TOO_LONG", "properties.region"),
    ("a property of a megabyte", properties(region="x" * 1_000_000), "PROPERTY_TOO_LONG", "properties.region"),
    ("a NUL in a property", properties(region="a\0b"), "PROPERTY_HAS_NUL", "properties.region"),
]  # fmt: skip

WELL_FORMED: list[tuple[str, Change]] = [
    ("an id of 256 characters", field("id", "é" * 256)),
    ("an id with blanks and signs", field("id", " a/b:c\u2028✓ ")),
    ("a thousand years ago", time(-30_000_000_000)),
    ("the first instant of all", time(-62_135_596_800)),
    ("the epoch", time(0)),
    ("a day ahead", at(timedelta(days=1))),
    ("26 and 12 digits", field("value", "-" + "9" * 26 + "." + "9" * 12)),
    ("leading and trailing zeros", field("value", "007.500")),
    ("64 properties", properties(**{f"k{n}": "x" for n in range(64)})),
    ("properties of odd but legal names", properties(**{"_": "x", "a.b-c_D9": "", "k" * 64: "y"})),
    ("a property of 1,024 characters", properties(region="✓" * 1_024)),
    ("a property with line breaks", properties(note="a\r\n\tb\x85")),
]


@pytest.mark.parametrize(
    ("change", "reason", "field_at_fault"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED]
)
def test_a_malformed_usage_event_is_told_its_field_and_its_neighbours_are_accepted(
    change: Change, reason: str, field_at_fault: str
) -> None:
    malformed = usage("malformed")
    change(malformed)

    validated = checked(usage("before"), malformed, usage("after"))

    problem = validated.problems[1]
    assert (problem.reason, problem.field) == (reason, field_at_fault)
    assert 20 < len(problem.message) < 400
    assert (list(rows(validated).ids), validated.rows.tolist()) == (["before", "after"], [0, 2])


@pytest.mark.parametrize("change", [case[1] for case in WELL_FORMED], ids=[case[0] for case in WELL_FORMED])
def test_a_usage_event_at_the_edge_of_the_rules_is_accepted(change: Change) -> None:
    event = usage("edge")
    change(event)

    assert checked(event).problems == {}
    assert list(checked(UsageEvent(value="x", properties={"": ""}), event).problems) == [0], "whatever its neighbours"


def test_the_first_problem_in_the_order_of_the_fields_is_told() -> None:
    event = UsageEvent(id="a\n", source="", value="x")

    assert checked(event).problems[0].reason == "ID_CONTROL_CHARACTER"


def test_what_is_accepted_comes_out_exactly_as_it_was_sent() -> None:
    event = usage("e-1", "12.50", region="eu", input_tokens="12")
    event.time.CopyFrom(Timestamp(seconds=-1, nanos=999_999_999))

    columns = rows(checked(event))

    assert (columns.sources, columns.types, columns.subjects, columns.ids) == (
        ["gateway"], ["llm.completion"], ["tenant-1"], ["e-1"],
    )  # fmt: skip
    assert columns.times_us == [-1], "digits below a microsecond are cut off"
    assert columns.values == [Decimal("12.50")]
    assert columns.properties == [{"region": "eu", "input_tokens": "12"}]


def test_a_usage_event_without_a_value_counts_one() -> None:
    assert rows(checked(usage("e-1", ""))).values == [Decimal(1)]


def test_a_request_with_too_many_different_property_names_keeps_those_within_the_bound() -> None:
    events = [usage(f"e-{row}", **{f"k{row}_{n}": "x" for n in range(60)}) for row in range(6)]

    validated = checked(*events, usage("plain"))

    assert {row: problem.reason for row, problem in validated.problems.items()} == {
        4: "PROPERTY_KEYS_TOO_MANY",
        5: "PROPERTY_KEYS_TOO_MANY",
    }
    assert validated.rows.tolist() == [0, 1, 2, 3, 6]


def test_the_property_names_of_a_refused_usage_event_do_not_count() -> None:
    refused = [usage("", **{f"k{row}_{n}": "x" for n in range(60)}) for row in range(6)]

    validated = checked(*refused, usage("plain", region="eu"))

    assert validated.rows.tolist() == [6]


def test_a_request_in_which_everything_is_wrong_has_nothing_to_record() -> None:
    validated = checked(UsageEvent(), UsageEvent(id="x"))

    assert (validated.rows.tolist(), len(validated.usage)) == ([], 0)
    assert [problem.reason for problem in validated.problems.values()].count("ID_EMPTY") == 1
