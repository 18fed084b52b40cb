"""Weighted sums: a level over time, by examples that are easy to get wrong."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.states import level_states
from services.kernel.timestamp import to_timestamp
from tests.aggregator_room import DAY, AggregatorRoom, call, open_room

LATER = DAY + timedelta(days=60)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    with open_room(tmp_path, now=LATER) as room:
        room.create("storage", aggregation=api.AGGREGATION_WEIGHTED_SUM, unit="GB-hour")
        yield room


def between(start_hours: float, end_hours: float) -> dict[str, object]:
    return {
        "start_at": to_timestamp(DAY + timedelta(hours=start_hours)),
        "end_at": to_timestamp(DAY + timedelta(hours=end_hours)),
    }


def values(answer: api.QueryUsageResponse) -> list[str]:
    return [row.value for row in answer.rows]


def test_a_level_lasts_until_the_next_one(room: AggregatorRoom) -> None:
    """polar #8545: 10 GB for half an hour, then 20 GB for an hour and a half, are 35 GB-hours."""
    room.record([call(1, "10"), call(1.5, "20"), call(3, "0")])

    assert values(room.ask("storage")) == ["35"]


def test_a_level_from_long_before_the_window_is_carried_into_it(room: AggregatorRoom) -> None:
    room.record([call(-24 * 40, "7"), call(-24 * 30, "2.5")])

    assert values(room.ask("storage")) == ["60"]
    assert values(room.ask("storage", **between(0.25, 0.5))) == ["0.625"]


def test_a_level_is_carried_from_inside_the_hour_that_the_window_cuts(room: AggregatorRoom) -> None:
    room.record([call(-5, "100"), call(0.1, "4"), call(0.9, "8")])

    assert values(room.ask("storage", **between(0.5, 1.5))) == ["6.4"]


def test_windows_tile_the_level_and_add_up(room: AggregatorRoom) -> None:
    room.record([call(-1, "6"), call(0.5, "2"), call(2.25, "0")])

    hours = values(room.ask("storage", window=api.WINDOW_HOUR, **between(0, 4)))

    assert hours == ["4", "2", "0.5", "0"]
    assert values(room.ask("storage", **between(0, 4))) == ["6.5"]


def test_a_level_reaches_to_now_and_no_further(tmp_path: Path) -> None:
    with open_room(tmp_path, now=DAY + timedelta(hours=6)) as room:
        room.create("storage", aggregation=api.AGGREGATION_WEIGHTED_SUM)
        room.record([call(2, "3"), call(8, "50")])

        assert values(room.ask("storage")) == ["12"]
        room.clock.advance(DAY + timedelta(hours=9))
        assert values(room.ask("storage")) == ["68"]
        assert values(room.ask("storage", **between(10, 12))) == ["0"]


def test_subjects_and_groups_have_levels_of_their_own(room: AggregatorRoom) -> None:
    room.record([call(0, "1", region="eu"), call(0, "10", region="us"), call(0, "100", "bob", region="eu")])
    room.record([call(12, "0", region="eu")])

    answer = room.ask("storage", group_by=["subject", "region"])

    assert [(row.group["subject"], row.group["region"], row.value) for row in answer.rows] == [
        ("ann", "eu", "12"),
        ("ann", "us", "240"),
        ("bob", "eu", "2400"),
    ]
    assert values(room.ask("storage", subjects=["ann"])) == ["252"]


def test_a_group_whose_level_has_ended_has_no_row_later(room: AggregatorRoom) -> None:
    room.record([call(-3, "1", region="eu"), call(-2, "0", region="eu"), call(-1, "2", region="us")])

    answer = room.ask("storage", group_by=["region"])

    assert [(row.group["region"], row.value) for row in answer.rows] == [("us", "48")]


def test_of_levels_at_one_instant_the_one_recorded_last_counts(room: AggregatorRoom) -> None:
    room.record([call(0, "5"), call(0, "1")])
    room.record([call(0, "2")])

    assert values(room.ask("storage")) == ["48"]


def test_a_late_level_changes_only_the_time_until_the_next_one(room: AggregatorRoom) -> None:
    room.record([call(0, "1"), call(10, "2")])
    assert values(room.ask("storage")) == ["38"]

    room.record([call(5, "4")])

    assert values(room.ask("storage")) == ["53"]


def test_a_negative_level_counts_down(room: AggregatorRoom) -> None:
    room.record([call(0, "-0.5"), call(2, "0.25")])

    assert values(room.ask("storage")) == ["4.5"]


def test_an_integral_is_exact_until_it_is_divided_by_an_hour(room: AggregatorRoom) -> None:
    """A third of an hour is no decimal: 24 thirds are, when nothing was rounded between."""
    third = timedelta(minutes=20)
    room.record(
        [call(hour, "1") for hour in range(24)] + [call(hour + third / timedelta(hours=1), "0") for hour in range(24)]
    )

    assert values(room.ask("storage")) == ["8"]
    assert values(room.ask("storage", **between(0, 1))) == ["0.333333333333"]


def test_a_day_of_23_hours_is_shorter(room: AggregatorRoom) -> None:
    """lago #1438: proration went wrong across the shift of clocks."""
    room.record([call(-48, "1")])
    start, end = datetime(2024, 3, 30, 23, tzinfo=UTC), datetime(2024, 4, 1, 22, tzinfo=UTC)
    zone = {"time_zone": "Europe/Berlin", "window": api.WINDOW_DAY}

    answer = room.ask("storage", start_at=to_timestamp(start), end_at=to_timestamp(end), **zone)

    assert values(answer) == ["23", "24"]


def test_the_largest_level_for_millennia_is_exact(room: AggregatorRoom) -> None:
    room.record([call(0, "99999999999999999999999999.999999999999")])
    room.clock.advance(datetime(9999, 1, 1, tzinfo=UTC))

    hours = (datetime(9999, 1, 1, tzinfo=UTC) - DAY) // timedelta(hours=1)
    answer = room.ask("storage", start_at=to_timestamp(DAY), end_at=to_timestamp(datetime(9999, 12, 31, tzinfo=UTC)))

    expected = (10**38 - 1) * hours
    assert values(answer) == [f"{expected // 10**12}.{expected % 10**12:012d}".rstrip("0").rstrip(".")]


def test_a_level_over_many_windows_is_worked_off_in_pieces(
    room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.aggregator.states.integrals.PIECES_MAX", 5)
    monkeypatch.setattr("services.aggregator.states.level_states.USAGE_EVENTS_AT_ONCE", 2)
    room.record([call(-100, "1", region=region) for region in ("eu", "us")])
    room.record([call(hour, str(hour)) for hour in range(0, 24, 3)])

    hours = values(room.ask("storage", window=api.WINDOW_HOUR))

    assert hours == [str(2 + hour - hour % 3) for hour in range(24)]
    assert values(room.ask("storage")) == [str(sum(map(int, hours)))]


def test_the_level_as_of_a_position_is_the_one_that_was_known_there(room: AggregatorRoom) -> None:
    room.record([call(-100, "1")])
    known = room.record([call(0, "2")])
    room.clock.advance(LATER + timedelta(days=1))
    room.record([call(-50, "8"), call(12, "0")])

    assert values(room.ask("storage")) == ["24"]
    assert values(room.ask("storage", as_of=known)) == ["48"]
    assert values(room.ask("storage", as_of=known - 1)) == ["24"]


def test_batches_that_cover_all_time_are_not_read_for_every_hour(
    room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import in no order of time has such batches: a range is cut in as many parts as it has pieces, not hours."""
    read: list[tuple[int, int]] = []
    counted = level_states._events

    def counting(source: Any, query: Any, start_us: int, end_us: int, until: Any) -> Any:
        read.append((start_us, end_us))
        return counted(source, query, start_us, end_us, until)

    monkeypatch.setattr(level_states, "USAGE_EVENTS_AT_ONCE", 25)
    monkeypatch.setattr(level_states, "_events", counting)
    for _ in range(10):
        room.record([call(hour, "1") for hour in range(0, 24 * 30, 80)])

    end_at = to_timestamp(DAY + timedelta(days=30))
    assert values(room.ask("storage", end_at=end_at)) == ["720"]
    assert 4 <= len(read) <= 10
