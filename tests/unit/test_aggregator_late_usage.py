"""Usage that comes after its month was closed is said aloud: it is in no invoice and in no closing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.definition import Definition
from tests.aggregator_room import GRACE, AggregatorRoom, open_room
from tests.plain_usage import Event

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2024, 2, 1, tzinfo=UTC)
MARCH = datetime(2024, 3, 1, tzinfo=UTC)
REQUESTS = Definition("requests", "", "call", AggregationName.COUNT, "", (), "")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    """January and February are closed for ann, January for bob too."""
    with open_room(tmp_path, now=JANUARY) as opened:
        opened.log.create([REQUESTS])
        opened.record([call(JANUARY), call(FEBRUARY), call(JANUARY, "bob")])
        opened.clock.advance(MARCH + GRACE)
        opened.closer.close_due()
        yield opened


def call(at: datetime, subject: str = "ann") -> Event:
    return Event("call", subject, at, Decimal(1), {})


def warnings_of(room: AggregatorRoom, usage: list[Event]) -> list[dict[str, Any]]:
    with capture_logs() as lines:
        position = room.record(usage)
    late = [dict(line) for line in lines if line["event"] == "late usage in a closed month"]
    assert all((line["log_level"], line["until_position"]) == ("warning", position) for line in late)
    return [{name: line[name] for name in ("month", "subjects", "usage_events")} for line in late]


def test_late_usage_is_said_once_a_month_with_its_counts(room: AggregatorRoom) -> None:
    last = FEBRUARY - timedelta(microseconds=1)
    usage = [call(JANUARY), call(last), call(last, "bob"), call(FEBRUARY), call(FEBRUARY, "bob"), call(MARCH)]

    assert warnings_of(room, usage) == [
        {"month": "2024-01", "subjects": 2, "usage_events": 3},
        {"month": "2024-02", "subjects": 1, "usage_events": 1},
    ]


def test_usage_of_an_open_month_is_not_late(room: AggregatorRoom) -> None:
    assert warnings_of(room, [call(MARCH), call(JANUARY, "new"), call(FEBRUARY, "bob")]) == []


def test_late_usage_of_many_customers_is_one_line(room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.aggregator.subject_months.VALUES_MAX", 2)
    subjects = [f"s{number}" for number in range(5)]
    room.record([call(JANUARY, subject) for subject in subjects])
    room.closer.close_due()

    late = warnings_of(room, [call(JANUARY, subject) for subject in subjects for _ in range(2)])
    assert late == [{"month": "2024-01", "subjects": 5, "usage_events": 10}]
