"""The projection "billing" says the same however the log is cut into batches."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import MetaData

from meterlog.rating.v1 import rating_pb2
from services.eventstore.event import BEGINNING, RecordedEvent
from services.kernel.clock import SimulatedClock
from services.projection.digest import tables_digest
from services.projection.projection import RebuildMode
from services.rating.readmodel.projection import BillingProjection
from services.rating.worker import BillingWorker
from tests.databases import DATABASES, USUAL, scratch
from tests.rating_room import WAIT_S, RatingRoom, bill_with, flat, open_room, utc


@pytest.fixture(params=DATABASES)
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RatingRoom]:
    with open_room(tmp_path, request.param) as opened:
        yield opened


def digest_of(batches: list[list[RecordedEvent]], database: str = USUAL) -> str:
    projection, metadata = BillingProjection(), MetaData()
    tables = projection.tables(metadata, "__g1")
    with scratch(database) as connection:
        metadata.create_all(connection)
        for batch in batches:
            projection.fold(connection, tables, batch)
        return tables_digest(connection, metadata, "__g1")


def lived_in(room: RatingRoom) -> list[RecordedEvent]:
    """Everything that can happen: renamed, published, billed for months, cancelled, cancelled a moment too late."""
    room.subscribed("acme", "beta", "gamma")
    room.customers.update(rating_pb2.UpdateCustomerRequest(key="acme", display_name="A"), WAIT_S)
    room.customers.update(rating_pb2.UpdateCustomerRequest(key="acme", display_name="B"), WAIT_S)
    wanted = rating_pb2.Plan(key="start", currency="USD", prices=[flat("25")])
    room.plans.publish(rating_pb2.PublishPlanVersionRequest(plan=wanted), WAIT_S)
    bill_with(BillingWorker(room.billing, SimulatedClock(utc("2024-02-01"))))
    room.subscriptions.cancel(rating_pb2.CancelSubscriptionRequest(key="beta-sub"), WAIT_S)
    room.advance("2024-02-10")
    room.subscriptions.cancel(rating_pb2.CancelSubscriptionRequest(key="gamma-sub"), WAIT_S)
    room.advance("2024-04-02")
    room.bill()
    return list(room.store.read_all(after=BEGINNING, categories=BillingProjection.categories).events)


def test_any_cut_of_the_log_gives_the_same_rows(room: RatingRoom) -> None:
    events = lived_in(room)
    whole = digest_of([events])
    assert whole == digest_of([[event] for event in events])
    assert {digest_of([events], database) for database in DATABASES} == {whole}
    assert {digest_of([events[:cut], events[cut:]]) for cut in range(1, len(events))} == {whole}


def test_a_log_that_goes_on_gives_other_rows(room: RatingRoom) -> None:
    events = lived_in(room)
    assert len({digest_of([events[:count]]) for count in range(len(events) + 1)}) == len(events) + 1


def test_a_rebuilt_projection_equals_the_live_one_and_answers_in_its_place(room: RatingRoom) -> None:
    lived_in(room)
    before = room.listed()
    comparison = room.books.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=lambda _: None)
    assert comparison.is_equal
    assert comparison.is_swapped
    assert room.listed() == before
