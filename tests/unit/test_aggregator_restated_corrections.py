"""A correction or a backfill of a closed month restates it, and its reversal restates it back: no total is lost."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from meterlog.aggregator.v1 import correction_pb2 as api
from meterlog.aggregator.v1.aggregator_pb2 import GetPeriodUsageRequest
from meterlog.events.v1.meter_pb2 import UsagePeriodRestated
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.definition import Definition
from services.eventstore.catalogue import decode
from services.eventstore.event import BEGINNING
from services.kernel.timestamp import to_timestamp
from services.rpc.authorization import Caller, Scope
from services.rpc.interceptor import caller_of_call
from tests.aggregator_room import GRACE, WAIT_S, AggregatorRoom, open_room
from tests.plain_usage import Event

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2024, 2, 1, tzinfo=UTC)
SUM = Definition("sizes", "", "call", AggregationName.SUM, "", (), "")
LARGEST = Definition("largest", "", "call", AggregationName.MAX, "", (), "")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    """January is closed for ann (5 and 7) and bob (1)."""
    with open_room(tmp_path, now=JANUARY) as opened:
        opened.log.create([SUM, LARGEST])
        opened.record([call("5"), call("7"), call("1", "bob")])
        opened.clock.advance(FEBRUARY + GRACE)
        opened.closer.close_due()
        token = caller_of_call.set(Caller("test", frozenset({Scope.ADMIN})))
        yield opened
        caller_of_call.reset(token)


def call(value: str, subject: str = "ann") -> Event:
    return Event("call", subject, JANUARY, Decimal(value), {})


def name(row: int) -> api.UsageName:
    return api.UsageName(source="test", id=f"0-0-{row}")


def restated(room: AggregatorRoom) -> list[tuple[str, dict[str, tuple[str, str]]]]:
    """What was restated since the beginning, after one look."""
    room.restater.restate_changed()
    recorded = room.store.read_all(after=BEGINNING, categories={"period"}).events
    events = [cast(UsagePeriodRestated, decode(event)) for event in recorded if event.type == "UsagePeriodRestated"]
    return [
        (event.subject, {total.meter: (total.old_quantity, total.new_quantity) for total in event.totals})
        for event in events
    ]


WHO: dict[str, Any] = {"reason": "a test", "decided_by": "ann"}


def test_a_cancelled_maximum_is_restated_and_its_reversal_too(room: AggregatorRoom) -> None:
    room.corrections.cancel(api.CancelUsageRequest(key="c1", names=[name(1)], **WHO), WAIT_S)
    down = ("ann", {"sizes": ("12", "5"), "largest": ("7", "5")})
    assert restated(room) == [down]

    room.corrections.revert(api.RevertCorrectionRequest(key="c1", **WHO), WAIT_S)
    assert restated(room) == [down, ("ann", {"sizes": ("5", "12"), "largest": ("5", "7")})]


def test_a_subject_whose_usage_is_all_cancelled_has_no_total_any_more(room: AggregatorRoom) -> None:
    room.corrections.cancel(api.CancelUsageRequest(key="c1", names=[name(2)], **WHO), WAIT_S)

    assert restated(room) == [("bob", {"sizes": ("1", ""), "largest": ("1", "")})]
    room.catch_up()
    listed = room.closed.usage(GetPeriodUsageRequest(subject="bob", at=to_timestamp(JANUARY)), WAIT_S)
    assert dict(listed.totals) == dict(listed.closed.totals) == {}


def test_an_amendment_is_restated(room: AggregatorRoom) -> None:
    room.corrections.amend(api.AmendUsageRequest(key="a1", name=name(0), value="5.5", **WHO), WAIT_S)

    assert restated(room) == [("ann", {"sizes": ("12", "12.5")})]


def test_a_backfill_is_restated_when_it_is_closed_and_when_it_is_reverted(room: AggregatorRoom) -> None:
    room.backfills.open(api.OpenBackfillRequest(key="b1", **WHO), WAIT_S)
    room.log.record([call("3")], partition="1", source="backfill/b1/x")
    room.catch_up()
    assert restated(room) == []

    room.backfills.close(api.CloseBackfillRequest(key="b1", expected_count=1, **WHO), WAIT_S)
    assert restated(room) == [("ann", {"sizes": ("12", "15")})]
    room.backfills.revert(api.RevertBackfillRequest(key="b1", **WHO), WAIT_S)
    assert restated(room)[1:] == [("ann", {"sizes": ("15", "12")})]
