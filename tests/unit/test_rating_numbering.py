"""Invoice numbers have no gaps, and an invoice has one, whatever crashes and whoever comes first."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from meterlog.events.v1.invoice_pb2 import InvoiceNumberAssigned
from services.eventstore.catalogue import decode
from services.eventstore.event import Appended, NewEvent, StreamName
from services.eventstore.memory import MemoryEventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Conflict, InvalidInput, Unavailable
from services.rating.numbering import KnownNumbers, assign_number, require_series, series_stream
from tests.rating_room import NEW_YEAR

NOTHING_KNOWN = KnownNumbers("", 0)


class Overtaken(MemoryEventStore):
    """A store where another invoice takes a number just before each append, as long as there are others."""

    def __init__(self, others: Sequence[str]) -> None:
        super().__init__(SimulatedClock(NEW_YEAR))
        self._others = list(others)

    def append(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Appended:
        if self._others:
            other, waiting = self._others[0], self._others[1:]
            self._others = []
            assign_number(self, stream.id, other, NOTHING_KNOWN, NEW_YEAR)
            self._others = waiting
        return super().append(stream, events, expected_version)


@dataclass
class Series:
    store: MemoryEventStore = field(default_factory=lambda: MemoryEventStore(SimulatedClock(NEW_YEAR)))

    def assign(self, invoice: str, known: KnownNumbers = NOTHING_KNOWN) -> str:
        return assign_number(self.store, "INV", invoice, known, NEW_YEAR)

    def assigned(self) -> list[tuple[str, str]]:
        messages = [decode(recorded) for recorded in self.store.read_stream(series_stream("INV"))]
        return [(m.number, m.invoice_id) for m in messages if isinstance(m, InvoiceNumberAssigned)]


def test_numbers_count_from_one_without_gaps() -> None:
    series = Series()
    assert [series.assign(invoice) for invoice in ("a", "b", "c")] == ["INV-000001", "INV-000002", "INV-000003"]


def test_an_invoice_keeps_its_number_after_a_crash_before_it_was_finalized() -> None:
    series = Series()
    series.assign("a")
    series.assign("b")
    assert series.assign("a") == "INV-000001"
    assert [number for number, _ in series.assigned()] == ["INV-000001", "INV-000002"]


def test_a_number_that_is_known_is_not_looked_for() -> None:
    series = Series()
    assert series.assign("a", KnownNumbers("OLD-000007", 0)) == "OLD-000007"
    assert series.assigned() == []


def test_books_that_lag_behind_the_log_are_made_up_for_by_its_tail() -> None:
    series = Series()
    series.assign("a")
    series.assign("b")
    assert series.assign("b", KnownNumbers("", 1)) == "INV-000002"
    assert series.assign("c", KnownNumbers("", 1)) == "INV-000003"


def test_another_invoice_came_first() -> None:
    series = Series(Overtaken(["b"]))
    assert series.assign("a") == "INV-000002"
    assert series.assigned() == [("INV-000001", "b"), ("INV-000002", "a")]


def test_another_worker_came_first_with_the_same_invoice() -> None:
    series = Series(Overtaken(["b", "a"]))
    assert series.assign("a") == "INV-000002"
    assert series.assigned() == [("INV-000001", "b"), ("INV-000002", "a")]


def test_a_series_that_is_never_free_is_given_up_after_a_bound() -> None:
    series = Series(Overtaken([f"other-{n}" for n in range(1_000)]))
    with pytest.raises(Conflict, match="contended"):
        series.assign("a")


def test_many_at_once_get_each_number_once() -> None:
    series = Series()
    invoices = [f"invoice-{n % 8}" for n in range(24)]
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(series.assign, invoices))
    assert sorted(set(numbers)) == [f"INV-{n:06d}" for n in range(1, 9)]
    assert len({(number, invoice) for number, invoice in zip(numbers, invoices, strict=True)}) == 8


def test_an_append_that_fails_is_not_answered_with_a_number() -> None:
    series = Series()
    series.store.close()
    with pytest.raises(Unavailable):
        series.assign("a")


@pytest.mark.parametrize("text", ["", "-", "INV-", "a b", "ü", "x" * 33])
def test_a_series_has_a_plain_name(text: str) -> None:
    with pytest.raises(InvalidInput, match="METERLOG_INVOICE_SERIES"):
        require_series(text, "METERLOG_INVOICE_SERIES")


@pytest.mark.parametrize("text", ["INV", "2024/DE", "A", "a-b_c"])
def test_a_series_may_have_signs_inside(text: str) -> None:
    assert require_series(text, "METERLOG_INVOICE_SERIES") == text
