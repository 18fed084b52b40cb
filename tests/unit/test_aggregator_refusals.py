"""What the API refuses, and which field and reason it names."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.questions.answer import ROWS_MAX
from services.eventstore.event import Position
from services.kernel.errors import InvalidInput, NotFound, RuleViolated, TimedOut
from services.kernel.timestamp import to_timestamp
from services.rpc.pages import encode_token
from tests.aggregator_room import DAY, WAIT_S, AggregatorRoom, call, open_room


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    with open_room(tmp_path) as opened:
        yield opened


NEXT_DAY = to_timestamp(DAY + timedelta(days=1))


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"start_at": None}, "start_at", "FIELD_MISSING"),
        ({"end_at": None}, "end_at", "FIELD_MISSING"),
        ({"start_at": NEXT_DAY}, "end_at", "RANGE_REVERSED"),
        ({"start_at": NEXT_DAY, "end_at": to_timestamp(DAY)}, "end_at", "RANGE_REVERSED"),
        ({"time_zone": "Mars/Phobos"}, "time_zone", "UNKNOWN_TIME_ZONE"),
        ({"window": 99}, "window", "UNKNOWN_WINDOW"),
        ({"group_by": ["region", "tier"]}, "group_by[1]", "UNKNOWN_GROUP_KEY"),
        ({"group_by": ["subject", "subject"]}, "group_by[1]", "GROUP_KEY_REPEATED"),
        ({"subjects": ["ann", ""]}, "subjects[1]", "BAD_IDENTIFIER"),
        ({"subjects": [f"s{n}" for n in range(1_001)]}, "subjects", "TOO_MANY_SUBJECTS"),
        ({"min_position": -1}, "min_position", "INVALID_INPUT"),
        (
            {"start_at": to_timestamp(datetime(2000, 1, 1, tzinfo=UTC)), "window": api.WINDOW_HOUR},
            "window",
            "TOO_MANY_WINDOWS",
        ),
        (
            {
                "start_at": to_timestamp(datetime(1, 1, 1, tzinfo=UTC)),
                "window": api.WINDOW_MONTH,
                "time_zone": "America/New_York",
            },
            "start_at",
            "RANGE_BEYOND_CALENDAR",
        ),
        (
            {"end_at": to_timestamp(datetime(9999, 12, 31, 23, tzinfo=UTC)), "window": api.WINDOW_MONTH},
            "start_at",
            "RANGE_BEYOND_CALENDAR",
        ),
    ],
)
def test_a_malformed_query_is_refused_by_its_field(
    room: AggregatorRoom, fields: dict[str, Any], field: str, reason: str
) -> None:
    room.create()
    with pytest.raises(InvalidInput) as refusal:
        room.ask(**fields)
    assert (refusal.value.field, refusal.value.reason) == (field, reason)


def test_a_meter_that_does_not_exist_has_no_usage_to_ask_for(room: AggregatorRoom) -> None:
    for ask_for in (
        lambda: room.ask("nothing"),
        lambda: room.meters.get(api.GetMeterRequest(slug="nothing")),
        lambda: room.meters.archive(api.ArchiveMeterRequest(slug="nothing"), WAIT_S),
    ):
        with pytest.raises(NotFound) as refusal:
            ask_for()
        assert refusal.value.reason == "METER_NOT_FOUND"


def test_an_answer_with_too_many_rows_is_refused(room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    room.create()
    room.record([call(0, region=str(number)) for number in range(10)])
    monkeypatch.setattr("services.aggregator.api.usage.ROWS_MAX", 9)

    assert ROWS_MAX == 100_000
    with pytest.raises(RuleViolated, match="narrow the range"):
        room.ask(group_by=["region"])


def test_an_answer_that_takes_longer_than_the_call_is_given_up(room: AggregatorRoom) -> None:
    room.create()
    room.record([call(0)])
    request = api.QueryUsageRequest(
        meter="tokens", start_at=to_timestamp(DAY), end_at=NEXT_DAY, min_position=Position(0)
    )

    with pytest.raises(TimedOut):
        room.usage.query(request, 0.0)


@pytest.mark.parametrize("token", ["x", "W10=", "WzEuNV0="])
def test_a_token_that_no_list_gave_is_refused(room: AggregatorRoom, token: str) -> None:
    for listing in (
        lambda: room.meters.list(api.ListMetersRequest(page_token=token)),
        lambda: room.usage_events.list(api.ListUsageEventsRequest(page_token=token), WAIT_S),
        lambda: room.closed.list(api.ListClosedPeriodsRequest(page_token=token)),
    ):
        with pytest.raises(InvalidInput) as refusal:
            listing()
        assert refusal.value.field == "page_token"


def test_a_token_of_another_list_is_refused(room: AggregatorRoom) -> None:
    token = encode_token("tokens")
    with pytest.raises(InvalidInput):
        room.usage_events.list(api.ListUsageEventsRequest(page_token=token), WAIT_S)
    with pytest.raises(InvalidInput):
        room.closed.list(api.ListClosedPeriodsRequest(page_token=token))


def test_a_position_that_the_log_has_not_is_not_waited_for(room: AggregatorRoom) -> None:
    room.create()
    with pytest.raises(InvalidInput):
        room.ask(min_position=1_000)
