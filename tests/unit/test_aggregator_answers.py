"""Questions beyond one total: filters, the greatest groups, and what the log once said."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.kernel.errors import InvalidInput
from services.kernel.timestamp import to_timestamp
from tests.aggregator_room import DAY, WAIT_S, AggregatorRoom, call, open_room

EVERY = [
    "count",
    "sum",
    "min",
    "max",
    "avg",
    "first",
    "last",
    "unique_count",
    "weighted_sum",
    "percentile",
]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    with open_room(tmp_path) as opened:
        yield opened


def value(response: api.QueryUsageResponse) -> str | None:
    (row,) = response.rows
    return row.value if row.HasField("value") else None


def groups(response: api.QueryUsageResponse) -> list[tuple[str, ...]]:
    return [(*row.group.values(), row.value) for row in response.rows]


def condition(key: str, operator: str, *values: str) -> api.UsageCondition:
    return api.UsageCondition(
        property=key, operator=api.ConditionOperator.Value(f"CONDITION_OPERATOR_{operator}"), values=values
    )


def create_every(room: AggregatorRoom) -> None:
    for name in EVERY:
        percentile = {"percentile": "50"} if name == "percentile" else {}
        room.create(name, aggregation=api.Aggregation.Value(f"AGGREGATION_{name.upper()}"), **percentile)


# --- filters ---------------------------------------------------------------------------------------------------------


def test_only_groups_that_meet_every_filter_count(room: AggregatorRoom) -> None:
    room.create(group_by=["region", "tier"])
    room.record([call(0, "1", region="eu", tier="1"), call(0, "2", region="eu", tier="20"), call(0, "4", region="us")])
    room.record([call(5, "8", region="eu-west", tier="3"), call(5, "16")])

    def filtered(*filters: api.UsageCondition) -> str | None:
        return value(room.ask(filters=filters))

    assert filtered(condition("region", "EQUALS", "eu")) == "3"
    assert filtered(condition("region", "NOT_EQUALS", "eu")) == "28"
    assert filtered(condition("region", "IN", "eu", "us")) == "7"
    assert filtered(condition("region", "PREFIX", "eu")) == "11"
    assert filtered(condition("region", "PREFIX", "eu"), condition("tier", "GREATER", "2")) == "10"
    assert filtered(condition("region", "EQUALS", "nowhere")) == "0"
    assert filtered(condition("region", "EQUALS", "")) == "16"


def test_a_group_without_the_property_is_missing_for_exists_alone(room: AggregatorRoom) -> None:
    room.create()
    room.record([call(0, "1", region="eu"), call(0, "2"), call(0, "4", region="")])

    assert value(room.ask(filters=[condition("region", "EXISTS")])) == "1"
    assert value(room.ask(filters=[condition("region", "NOT_EXISTS")])) == "6"


def test_filters_and_groups_of_a_percentile_are_those_of_any_meter(room: AggregatorRoom) -> None:
    room.create("p50", aggregation=api.AGGREGATION_PERCENTILE, percentile="50", group_by=["region"])
    room.record([call(0, str(n), region="eu" if n % 2 else "us") for n in range(1, 8)])

    assert value(room.ask("p50", filters=[condition("region", "EQUALS", "eu")])) == "3"
    assert groups(room.ask("p50", group_by=["region"])) == [("eu", "3"), ("us", "4")]


# --- the greatest groups ---------------------------------------------------------------------------------------------


def test_the_greatest_groups_of_the_whole_range_are_told_window_by_window(room: AggregatorRoom) -> None:
    room.create()
    room.record([call(0, "10", region="a"), call(0, "1", region="b"), call(0, "2", region="c")])
    room.record([call(1, "1", region="a"), call(1, "9", region="b"), call(1, "2", region="c")])

    asked: dict[str, Any] = {"group_by": ["region"], "top": 2, "window": api.WINDOW_HOUR}
    assert groups(room.ask(**asked)) == [("a", "10"), ("b", "1"), ("a", "1"), ("b", "9")]


def test_equal_groups_are_taken_by_name(room: AggregatorRoom) -> None:
    room.create()
    room.record([call(0, "5", region=name) for name in ("d", "b", "c", "a")])

    assert groups(room.ask(group_by=["region"], top=2)) == [("a", "5"), ("b", "5")]


def test_the_greatest_customers_are_found_among_all(room: AggregatorRoom) -> None:
    create_every(room)
    room.record([call(n % 3, str(n), subject=f"s{n:02}") for n in range(30)])

    for name in ("sum", "max", "avg", "percentile", "first"):
        rows = groups(room.ask(name, group_by=["subject"], top=3))
        assert [subject for subject, _ in rows] == ["s27", "s28", "s29"], name


def test_negative_and_long_quantities_are_ranked_as_numbers(room: AggregatorRoom) -> None:
    room.create()
    amounts = {"a": "-5", "b": "9", "c": "10", "d": "0.000000000001", "e": "99999999999999999999999999.5"}
    room.record([call(0, amount, region=name) for name, amount in amounts.items()])

    assert {group for group, _ in groups(room.ask(group_by=["region"], top=3))} == {"e", "c", "b"}


# --- what the log once said ------------------------------------------------------------------------------------------


def test_an_answer_as_of_a_position_is_the_one_that_was_given_then(room: AggregatorRoom) -> None:
    """openmeter #2191, #2837: the cut-off is a place in the log, not an instant, so nothing falls on its edge."""
    create_every(room)
    given: list[tuple[str, int, api.QueryUsageResponse]] = []
    for round_ in range(5):
        room.record([call(round_ / 2, str(round_), region="eu"), call(3, str(7 - round_), subject="bob")])
        for name in EVERY:
            for asked in ({}, {"group_by": ["subject", "region"]}, {"window": api.WINDOW_HOUR}):
                answered = room.ask(name, **asked)
                given.append((name, answered.position, answered))
                assert room.ask(name, as_of=answered.position, **asked) == answered

    for name, position, answered in given:
        asked = {"window": api.WINDOW_HOUR} if len(answered.rows) == 24 else {}
        if any(row.group for row in answered.rows):
            asked = {"group_by": ["subject", "region"]}
        assert room.ask(name, as_of=position, **asked) == answered


def test_a_position_that_the_log_has_not_reached_is_refused(room: AggregatorRoom) -> None:
    room.create()
    position = room.record([call(0)])

    with pytest.raises(InvalidInput) as refusal:
        room.ask(as_of=position + 1_000)
    assert (refusal.value.field, refusal.value.reason) == ("as_of", "POSITION_BEHIND_THE_END")
    with pytest.raises(InvalidInput):
        room.ask(as_of=-1)


def test_a_meter_that_was_created_later_answers_as_of_an_earlier_position(room: AggregatorRoom) -> None:
    position = room.record([call(0, "3")])
    room.record([call(0, "4")])
    room.create()

    assert value(room.ask(as_of=position)) == "3"
    assert value(room.ask()) == "7"


def test_a_redefined_meter_answers_as_of_an_earlier_position_by_what_it_said_then(room: AggregatorRoom) -> None:
    created = room.create()
    position = room.record([call(0, "3", size="100"), call(1, "4", size="200")])
    redefined = api.Meter(slug="tokens", event_type="call", aggregation=created.aggregation, value_property="size")
    room.meters.redefine(api.RedefineMeterRequest(slug="tokens", meter=redefined, expected_version=1), WAIT_S)

    assert value(room.ask()) == "300"
    assert value(room.ask(as_of=position)) == "7"
    assert groups(room.ask(as_of=position, group_by=["region"])) == [("", "7")]


def test_usage_counts_once_in_states_in_cut_hours_and_in_recounts(room: AggregatorRoom) -> None:
    """flexprice #1803: analytics that counted usage twice, once kept and once raw."""
    room.create()
    position = room.record([call(n / 4, "1") for n in range(96)])
    half = timedelta(minutes=30)
    cut: dict[str, Any] = {
        "start_at": to_timestamp(DAY + half),
        "end_at": to_timestamp(DAY + timedelta(hours=24) - half),
    }

    assert value(room.ask()) == "96"
    assert value(room.ask(**cut)) == "92"
    room.record([call(3, "1000")])
    assert value(room.ask(as_of=position)) == "96"
    assert value(room.ask(as_of=position, **cut)) == "92"


# --- windows ---------------------------------------------------------------------------------------------------------


def test_windows_of_every_length_are_answered(room: AggregatorRoom) -> None:
    room.create()
    room.record([call(0, "1"), call(1 / 60, "2"), call(24 * 7, "4"), call(24 * 31, "8"), call(24 * 300, "16")])
    year = {"start_at": to_timestamp(DAY), "end_at": to_timestamp(DAY + timedelta(days=366))}

    def used(window: int, **asked: Any) -> list[str]:
        return [row.value for row in room.ask(window=window, **{**year, **asked}).rows if row.value != "0"]

    two_minutes = {"end_at": to_timestamp(DAY + timedelta(minutes=2))}
    assert used(api.WINDOW_MINUTE, **two_minutes) == ["1", "2"]
    assert used(api.WINDOW_MINUTE, time_zone="Asia/Kathmandu", **two_minutes) == ["1", "2"]
    assert used(api.WINDOW_DAY) == ["3", "4", "8", "16"]
    # 31 March 2024 is a Sunday.
    assert used(api.WINDOW_WEEK) == ["3", "4", "8", "16"]
    assert used(api.WINDOW_MONTH) == ["3", "4", "8", "16"]
    assert used(api.WINDOW_QUARTER) == ["3", "12", "16"]
    assert used(api.WINDOW_YEAR) == ["15", "16"]
    assert used(api.WINDOW_NONE) == ["31"]


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "field", "reason"),
    [
        ({"filters": [condition("tier", "EQUALS", "1")]}, "filters[0].property", "UNKNOWN_FILTER_KEY"),
        ({"filters": [condition("$value", "LESS", "1")]}, "filters[0].property", "UNKNOWN_FILTER_KEY"),
        ({"filters": [condition("region", "LESS", "x")]}, "filters[0].values[0]", "BAD_CONDITION_VALUE"),
        ({"filters": [condition("region", "EQUALS")]}, "filters[0].values", "BAD_VALUE_COUNT"),
        ({"filters": [api.UsageCondition(property="region")]}, "filters[0].operator", "UNKNOWN_OPERATOR"),
        ({"filters": [condition("region", "EXISTS")] * 21}, "filters", "TOO_MANY_CONDITIONS"),
        ({"top": 5}, "top", "TOP_WITHOUT_GROUPS"),
        ({"top": -1, "group_by": ["region"]}, "top", "BAD_TOP"),
        ({"top": 1_001, "group_by": ["region"]}, "top", "BAD_TOP"),
        ({"page_size": 10_001}, "page_size", "BAD_PAGE_SIZE"),
        ({"page_size": -1}, "page_size", "BAD_PAGE_SIZE"),
        ({"page_token": "WyJ1c2FnZSIsMV0="}, "page_token", "PAGE_TOKEN_OF_ANOTHER_QUESTION"),
        ({"window": 99}, "window", "UNKNOWN_WINDOW"),
        ({"time_zone": "Mars/Olympus"}, "time_zone", "UNKNOWN_TIME_ZONE"),
    ],
)
def test_a_malformed_question_is_refused_by_field(
    room: AggregatorRoom, asked: dict[str, Any], field: str, reason: str
) -> None:
    room.create()
    with pytest.raises(InvalidInput) as refusal:
        room.ask(**asked)
    assert (refusal.value.field, refusal.value.reason) == (field, reason)
