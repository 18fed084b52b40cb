"""After tables were replaced, what was said from the old ones is looked at again, once: all closed periods."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import update

from meterlog.events.v1.meter_pb2 import UsagePeriodRestated
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.definition import Definition
from services.aggregator.periods.period_review import PeriodReview
from services.aggregator.periods.restater import PeriodRestater
from services.eventstore.catalogue import decode
from services.eventstore.event import BEGINNING
from services.kernel.errors import Unavailable
from services.projection.projection import RebuildMode
from tests.aggregator_room import AggregatorRoom, open_room
from tests.plain_usage import Event
from tests.projection_room import unheard

JANUARY, FEBRUARY, MARCH, APRIL = (datetime(2024, month, 1, tzinfo=UTC) for month in (1, 2, 3, 4))
VOLUME = Definition("volume", "", "call", AggregationName.SUM, "", (), "")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    """January, February and March are closed for ann and bob, a call of 5 each; but the tables said 7 meanwhile."""
    with open_room(tmp_path, now=JANUARY) as opened:
        opened.log.create([VOLUME])
        opened.record([call(at, subject) for at in (JANUARY, FEBRUARY, MARCH) for subject in ("ann", "bob")])
        assert reviewer(opened).review_some() == 0
        damage(opened)
        opened.clock.advance(datetime(2024, 5, 1, tzinfo=UTC))
        opened.closer.close_due()
        opened.restater.restate_changed()
        yield opened


def call(at: datetime, subject: str) -> Event:
    return Event("call", subject, at, Decimal(5), {})


def damage(room: AggregatorRoom) -> None:
    with room.windows.read() as (_, tables), room.database.write() as connection:
        assert connection.execute(update(tables.amounts).values(number="7")).rowcount == 6


def replace_tables(room: AggregatorRoom) -> None:
    assert not room.windows.rebuild(mode=RebuildMode.REPLACE, progress=unheard).is_equal


def reviewer(room: AggregatorRoom) -> PeriodRestater:
    """A restater such as one has after a restart."""
    return PeriodRestater(room.store, room.clock, room.windows, 0.0, review=PeriodReview(room.database))


def restated(room: AggregatorRoom) -> list[tuple[str, str, str]]:
    events = [decode(event) for event in room.store.read_all(after=BEGINNING, categories={"period"}).events]
    return [
        (event.subject, event.totals[0].old_quantity, event.totals[0].new_quantity)
        for event in events
        if isinstance(event, UsagePeriodRestated)
    ]


def test_what_was_stated_from_damaged_tables_is_restated_once_they_are_replaced(room: AggregatorRoom) -> None:
    worker = reviewer(room)
    assert worker.review_some() == 0
    replace_tables(room)
    assert room.restater.restate_changed() == 0

    assert worker.review_some() == 6

    assert restated(room) == [("ann", "7", "5"), ("bob", "7", "5")] * 3
    room.catch_up()
    assert worker.review_some() == 0
    assert reviewer(room).review_some() == 0


def test_a_review_takes_some_periods_a_round_and_goes_on_after_a_restart(
    room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.aggregator.periods.period_review.SPANS_MAX", 2)
    replace_tables(room)
    assert reviewer(room).review_some() == 4
    assert reviewer(room).review_some() == 2
    assert [reviewer(room).review_some() for _ in range(2)] == [0, 0]
    assert len(restated(room)) == 6


def test_a_round_that_failed_is_done_again_and_says_nothing_twice(
    room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_tables(room)
    worker = reviewer(room)
    with monkeypatch.context() as patched:
        patched.setattr(PeriodReview, "note", unheard_note)
        with pytest.raises(Unavailable):
            worker.review_some()
    assert len(restated(room)) == 6
    assert worker.review_some() == 0
    assert len(restated(room)) == 6


def unheard_note(*_arguments: object) -> None:
    raise Unavailable("the database is gone")


def test_nothing_is_reviewed_while_usage_is_doubted(room: AggregatorRoom) -> None:
    replace_tables(room)
    review = PeriodReview(room.database)
    doubting = PeriodRestater(room.store, room.clock, room.windows, 0.0, doubt=lambda: "differs", review=review)
    assert doubting.review_some() == 0
    assert restated(room) == []
    assert reviewer(room).review_some() == 6


def test_tables_that_took_over_because_they_were_equal_are_looked_at_too_and_nothing_is_said(
    room: AggregatorRoom,
) -> None:
    replace_tables(room)
    assert reviewer(room).review_some() == 6
    assert room.windows.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=unheard).is_equal
    assert reviewer(room).review_some() == 0
    assert len(restated(room)) == 6


def test_tables_that_were_lost_are_others(room: AggregatorRoom, tmp_path: Path) -> None:
    """A database that was deleted is folded anew; the generation's number is the same, and nothing else is."""
    (tmp_path / "new").mkdir()
    with open_room(tmp_path / "new", room.log) as opened:
        opened.catch_up()
        assert reviewer(opened).review_some() == 6
    assert len(restated(room)) == 6
