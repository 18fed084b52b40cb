"""Nothing is said for ever from tables that are known to differ from the log."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.definition import Definition
from services.eventstore.event import BEGINNING
from tests.aggregator_room import GRACE, AggregatorRoom, open_room
from tests.plain_usage import Event

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2024, 2, 1, tzinfo=UTC)
CALL = Event("call", "ann", JANUARY, Decimal(1), {})
DIFFERS = "a state differs"


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    """January is over; ann called once in it."""
    with open_room(tmp_path, now=JANUARY) as opened:
        opened.log.create([Definition("requests", "", "call", AggregationName.COUNT, "", (), "")])
        opened.record([CALL])
        opened.clock.advance(FEBRUARY + GRACE)
        yield opened


def said(room: AggregatorRoom) -> list[str]:
    return [event.type for event in room.store.read_all(after=BEGINNING, categories={"period"}).events]


def test_no_period_closes_meanwhile(room: AggregatorRoom) -> None:
    doubts = [DIFFERS]
    doubting = room.another_closer(doubt=lambda: doubts[0])

    assert (doubting.close_due(), said(room)) == (0, [])
    assert doubting.problem() == "no period closes while usage differs from the log"

    doubts[0] = ""
    assert (doubting.close_due(), doubting.problem()) == (1, "")


def test_no_period_is_restated_meanwhile(room: AggregatorRoom) -> None:
    doubts = [DIFFERS]
    doubting = room.another_restater(doubt=lambda: doubts[0])
    room.closer.close_due()
    room.record([CALL])

    assert (doubting.restate_changed(), said(room)) == (0, ["UsagePeriodClosed"])
    assert doubting.problem() == "no period is restated while usage differs from the log"

    doubts[0] = ""
    assert (doubting.restate_changed(), doubting.problem()) == (1, "")
