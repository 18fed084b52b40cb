"""Nothing that can never be taken back is written from tables of a log that is gone: it was restored under them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from meterlog.events.v1.invoice_pb2 import InvoiceDrafted, InvoiceFinalized
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.definition import Definition
from services.eventstore.catalogue import decode
from services.eventstore.event import BEGINNING, Position
from services.eventstore.store import EventStore
from services.kernel.calendar import Span
from services.kernel.errors import RuleViolated
from services.projection import runner
from services.rating.billing import Billing
from services.rating.usage_in_memory import UsageInMemory
from services.rating.usage_reader import MeterState, UsageRead
from services.rating.worker import BillingWorker
from tests import aggregator_room, rating_room
from tests.aggregator_room import DAY, call
from tests.rating_room import GRACE, RatingRoom, numbers_in_log
from tests.restored_log import restore_older

TOKENS = Definition("tokens", "", "call", AggregationName.SUM, "", (), "")


@pytest.fixture(autouse=True)
def nobody_else_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look every few seconds comes too late: who writes for ever has to look for itself."""
    monkeypatch.setattr(runner, "REWIND_LOOK_S", rating_room.WAIT_S)


def written(store: EventStore, kind: type) -> int:
    return sum(isinstance(decode(event), kind) for event in store.read_all(after=BEGINNING).events)


@pytest.mark.parametrize("grown_by", [0, 5])
def test_no_invoice_is_finalized_from_books_of_a_log_that_was_restored(tmp_path: Path, grown_by: int) -> None:
    """Neither when the log is shorter now, nor when it has grown past the books again."""
    with rating_room.open_room(tmp_path) as room:
        drafted_and_restored(room)
        grow(room, grown_by)
        room.advance("2024-02-02")
        bill_once(room.worker)
        assert "another log" in room.worker.problem()
        assert (written(room.store, InvoiceFinalized), numbers_in_log(room)) == (0, [])


def test_no_invoice_is_drafted_from_books_of_a_log_that_was_restored(tmp_path: Path) -> None:
    with rating_room.open_room(tmp_path) as room:
        room.subscribed("acme")
        backup = room.store.head().position
        room.customer("lost")
        restore_older(room.store, backup)
        bill_once(room.worker)
        assert "another log" in room.worker.problem()
        assert written(room.store, InvoiceDrafted) == 0


def drafted_and_restored(room: RatingRoom) -> None:
    room.subscribed("acme")
    room.record("acme", "requests", "2024-01-15", "1000")
    room.bill()
    backup = room.store.head().position
    room.customer("lost")
    restore_older(room.store, backup)


def grow(room: RatingRoom, events: int) -> None:
    other = aggregator_room.Log()
    other.store = room.store
    for _ in range(events):
        other.record([call(1)])


def bill_once(worker: BillingWorker) -> None:
    """One round, as the worker's own loop takes it: what fails is told, not raised."""
    worker._guarded_round()


class UsageOfAnotherLog(UsageInMemory):
    """An aggregator that counts in a longer log than the books are of."""

    def usage(
        self, meters: Sequence[str], customer: str, period: Span, min_position: Position, timeout_s: float
    ) -> UsageRead:
        read = super().usage(meters, customer, period, min_position, timeout_s)
        return UsageRead(read.quantities, Position(read.position + 1_000))

    def meter_state(self, slug: str, timeout_s: float) -> MeterState:
        return super().meter_state(slug, timeout_s)


def test_no_invoice_is_finalized_with_usage_counted_up_to_behind_the_logs_end(tmp_path: Path) -> None:
    with rating_room.open_room(tmp_path) as room:
        room.subscribed("acme")
        room.advance("2024-02-02")
        usage = UsageOfAnotherLog(rating_room.METERS)
        worker = BillingWorker(Billing(room.store, room.books, usage, "INV", GRACE), room.clock)
        rating_room.bill_with(worker)
        assert "behind the log's end" in worker.problem()
        assert (written(room.store, InvoiceFinalized), numbers_in_log(room)) == (0, [])


def test_no_period_closes_and_no_total_is_told_from_a_log_that_was_restored(tmp_path: Path) -> None:
    with aggregator_room.open_room(tmp_path) as room:
        room.log.create([TOKENS])
        room.record([call(1, "5")])
        backup = room.log.store.head().position
        room.record([call(2, "7")])
        restore_older(room.log.store, backup)
        with pytest.raises(RuleViolated, match="another log") as refusal:
            room.total("tokens")
        assert refusal.value.reason == "LOG_REWOUND"
        room.clock.advance(DAY.replace(year=DAY.year + 1))
        with pytest.raises(RuleViolated, match="another log"):
            room.closer.close_due()
        assert room.store.head().position == backup
