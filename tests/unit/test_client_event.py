"""What a call of `record` may carry, and what it says when it may not."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from meterlog.client import WrongType, WrongValue
from meterlog.client.event import timestamp, usage_event
from meterlog.client.identity import new_id, process_source

NOON = datetime(2023, 11, 16, 12, 0, 0, 123456, tzinfo=UTC)


def event(**changes):
    arguments = {"id": "1", "source": "gateway", "type": "llm.completion", "subject": "tenant-0", "time": NOON}
    return usage_event(**{**arguments, **changes})


def test_every_attribute_arrives_as_it_was_given():
    made = event(value="12.5", properties={"region": "eu"})
    assert (made.id, made.source, made.type, made.subject) == ("1", "gateway", "llm.completion", "tenant-0")
    assert (made.value, dict(made.properties)) == ("12.5", {"region": "eu"})


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (-7, "-7"),
        (10**25, "1" + "0" * 25),
        (Decimal("0.10"), "0.10"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-12"), "0.000000000001"),
        ("0.1", "0.1"),
    ],
)
def test_exact_numbers_become_plain_decimal_text(number, text):
    made = event(value=number, properties={"tokens": number})
    assert (made.value, made.properties["tokens"]) == (text, text)


@pytest.mark.parametrize("field", ["value", "properties.tokens"])
def test_a_float_is_refused_and_the_argument_named(field):
    changes = {"value": 0.1} if field == "value" else {"properties": {"tokens": 0.1}}
    with pytest.raises(WrongType, match=f"{field} is a float, which is not exact"):
        event(**changes)


def test_a_wrong_type_is_also_a_type_error():
    with pytest.raises(TypeError, match="id is a int; use text"):
        event(id=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": True}, "value is a bool"),
        ({"value": b"1"}, "value is a bytes"),
        ({"subject": None}, "subject is a NoneType"),
        ({"properties": {7: "x"}}, "a property key is a int"),
        ({"properties": {"x": None}}, "properties.x is a NoneType"),
        ({"time": "2023-11-16"}, "time is a str"),
    ],
)
def test_other_types_are_refused(changes, message):
    with pytest.raises(WrongType, match=message):
        event(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": Decimal("NaN")}, "finite"),
        ({"value": Decimal("-Infinity")}, "finite"),
        ({"value": Decimal("1e400")}, "at most 26 integer"),
        ({"value": Decimal("1e999999")}, "at most 26 integer"),
        ({"value": 10**5000}, "thousands of digits"),
        ({"time": NOON.replace(tzinfo=None)}, "time has no time zone"),
        ({"subject": "tenant-\ud800"}, "surrogate"),
        ({"properties": {"region": "\udfff"}}, "surrogate"),
    ],
)
def test_values_that_no_usage_event_can_carry_are_refused(changes, message):
    with pytest.raises(WrongValue, match=message):
        event(**changes)


def test_time_keeps_its_microseconds_in_any_time_zone():
    berlin = timezone(timedelta(hours=1))
    assert timestamp(NOON.astimezone(berlin), "time") == timestamp(NOON, "time")
    assert timestamp(NOON, "time").nanos == 123_456_000


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))])
def test_the_first_and_the_last_instants_of_python_can_be_sent(zone):
    first, last = datetime.min.replace(tzinfo=zone), datetime.max.replace(tzinfo=zone)
    assert timestamp(first, "time").nanos == 0
    assert timestamp(last, "time").nanos == 999_999_000
    assert timestamp(first, "time").seconds < timestamp(last, "time").seconds


def test_ids_are_uuids_of_version_7_that_never_repeat():
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert {(len(one), one[14]) for one in ids} == {(36, "7")}
    assert [one[:8] for one in ids] == sorted(one[:8] for one in ids)


def test_each_source_of_a_process_is_its_own():
    assert process_source() != process_source()
