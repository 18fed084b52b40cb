"""Totals of several meters are counted up to one log position, whatever is recorded meanwhile."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.questions import totals as counting
from services.aggregator.questions.answer import answer
from services.aggregator.questions.query import UsageRow
from services.kernel.errors import InvalidInput, NotFound, TimedOut
from services.kernel.timestamp import to_timestamp
from services.rating.plan import PRICES_MAX
from tests.aggregator_room import DAY, AggregatorRoom, call, open_room

NEXT_DAY = to_timestamp(DAY + timedelta(days=1))


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    with open_room(tmp_path) as opened:
        opened.create("calls", aggregation=api.AGGREGATION_COUNT)
        opened.create("tokens")
        opened.create("largest", aggregation=api.AGGREGATION_MAX)
        yield opened


def values(response: api.QueryTotalsResponse) -> list[tuple[str, str | None]]:
    return [(total.meter, total.value if total.HasField("value") else None) for total in response.totals]


def test_each_meter_has_one_total_of_one_customer_and_the_whole_range_in_the_order_asked_for(
    room: AggregatorRoom,
) -> None:
    position = room.record(
        [call(-0.1, "1"), call(0, "2"), call(23.9, "4"), call(24, "8"), call(1, "16", subject="bob")]
    )

    response = room.total("tokens", "calls", "largest")

    assert values(response) == [("tokens", "6"), ("calls", "2"), ("largest", "4")]
    assert response.position == position


def test_a_customer_without_usage_is_answered_like_any_other(room: AggregatorRoom) -> None:
    assert values(room.total("calls", "largest", subject="nobody")) == [("calls", "0"), ("largest", None)]


@pytest.mark.parametrize("starts_within_an_hour", [False, True])
def test_usage_that_is_folded_between_two_meters_is_in_neither(
    room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch, starts_within_an_hour: bool
) -> None:
    position = room.record([call(1)])

    def answer_then_record(*asked: Any) -> list[UsageRow]:
        rows = answer(*asked)
        room.record([call(1)])
        return rows

    monkeypatch.setattr(counting, "answer", answer_then_record)
    start_at = DAY + timedelta(minutes=7 if starts_within_an_hour else 0)
    response = room.total("calls", "tokens", start_at=to_timestamp(start_at))

    assert values(response) == [("calls", "1"), ("tokens", "1")]
    assert response.position == position
    assert values(room.total("calls")) == [("calls", "3")]


def test_a_caller_reads_what_it_wrote_and_waits_for_nothing_that_the_log_has_not(room: AggregatorRoom) -> None:
    for number in range(1, 6):
        written = room.log.record([call(0)])
        assert values(room.total("calls", min_position=written)) == [("calls", str(number))]
    with pytest.raises(InvalidInput):
        room.total("calls", min_position=written + 1)


def test_a_meter_that_does_not_exist_leaves_no_total_at_all(room: AggregatorRoom) -> None:
    with pytest.raises(NotFound) as refusal:
        room.total("calls", "nothing")
    assert refusal.value.reason == "METER_NOT_FOUND"


def test_totals_that_take_longer_than_the_call_are_given_up(room: AggregatorRoom) -> None:
    room.record([call(0)])
    request = api.QueryTotalsRequest(subject="ann", meters=["calls"], start_at=to_timestamp(DAY), end_at=NEXT_DAY)
    with pytest.raises(TimedOut):
        room.totals.query(request, 0.0)


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"subject": ""}, "subject", "BAD_IDENTIFIER"),
        ({"meters": []}, "meters", "BAD_METER_COUNT"),
        ({"meters": [f"m{n}" for n in range(101)]}, "meters", "BAD_METER_COUNT"),
        ({"meters": ["calls", "tokens", "calls"]}, "meters[2]", "METER_REPEATED"),
        ({"start_at": None}, "start_at", "FIELD_MISSING"),
        ({"end_at": None}, "end_at", "FIELD_MISSING"),
        ({"start_at": NEXT_DAY}, "end_at", "RANGE_REVERSED"),
        ({"min_position": -1}, "min_position", "INVALID_INPUT"),
    ],
)
def test_a_malformed_question_is_refused_by_its_field(
    room: AggregatorRoom, fields: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        room.total(**{"meters": ["calls"], **fields})
    assert (refusal.value.field, refusal.value.reason) == (field, reason)


def test_the_meters_of_the_largest_plan_are_answered_at_once() -> None:
    assert counting.METERS_MAX >= PRICES_MAX
