"""A part of a log is verified by itself; where the log ends before it, verification says whether it was cut short."""

from pathlib import Path

import pytest

from services.eventstore.audit.verify import FIRST, Span
from services.eventstore.event import Position
from services.eventstore.store import EventStore
from services.kernel.errors import InvalidInput
from tests.audit_room import GappedStore, fill, memory_log, sealed, verified


@pytest.mark.parametrize("gapped", [False, True], ids=["contiguous", "gapped"])
@pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 300), (6, 10), (7, 8), (100, 290), (300, 300), (290, None)])
def test_a_span_is_verified_by_itself(first: int, last: int | None, gapped: bool, tmp_path: Path) -> None:
    inner = memory_log(300)
    store: EventStore = GappedStore(inner) if gapped else inner
    step = GappedStore.STEP if gapped else 1
    sealed(store, tmp_path)
    span = Span(Position(first * step), None if last is None else Position(last * step))
    found = verified(store, tmp_path, span)
    assert found.verified, found.problem
    assert (last or 300) - first + 1 <= found.events <= (last or 300) - first + 9
    assert found.sealed >= (last or 300) - first + 1


@pytest.mark.parametrize("gapped", [False, True], ids=["contiguous", "gapped"])
def test_a_span_finds_what_is_wrong_in_it_and_nothing_else(gapped: bool, tmp_path: Path) -> None:
    sealed(GappedStore(memory_log(300)) if gapped else memory_log(300), tmp_path)
    inner = memory_log(95)
    fill(inner, 5, first=96, payload=b"another")
    fill(inner, 200, first=101)
    store: EventStore = GappedStore(inner) if gapped else inner
    step = GappedStore.STEP if gapped else 1
    found = verified(store, tmp_path, Span(Position(90 * step), Position(120 * step)))
    assert (found.verified, found.first_bad_position) == (False, 96 * step)
    for span in (Span(FIRST, Position(90 * step)), Span(Position(200 * step), Position(210 * step))):
        assert verified(store, tmp_path, span).verified


@pytest.mark.parametrize("gapped", [False, True], ids=["contiguous", "gapped"])
def test_a_span_behind_the_end_of_a_whole_log_is_refused(gapped: bool, tmp_path: Path) -> None:
    store: EventStore = GappedStore(memory_log(10)) if gapped else memory_log(10)
    step = GappedStore.STEP if gapped else 1
    sealed(store, tmp_path)
    for first in (10 * step + 1, 1000 * step, 10**20):
        with pytest.raises(InvalidInput, match=f"ends at position {10 * step}"):
            verified(store, tmp_path, Span(Position(first)))
    found = verified(store, tmp_path, Span(Position(6 * step), Position(1000 * step)))
    assert (found.verified, found.events, found.sealed) == (True, 5, 5), found.problem


@pytest.mark.parametrize("gapped", [False, True], ids=["contiguous", "gapped"])
@pytest.mark.parametrize(("first", "last"), [(9, None), (15, None), (30, 40), (3, 9), (3, 40)])
def test_a_log_that_was_cut_short_is_found_by_a_span_behind_its_end(
    first: int, last: int | None, gapped: bool, tmp_path: Path
) -> None:
    step = GappedStore.STEP if gapped else 1
    whole, cut = memory_log(20), memory_log(8)
    sealed(GappedStore(whole) if gapped else whole, tmp_path)
    span = Span(Position(first * step), None if last is None else Position(last * step))
    found = verified(GappedStore(cut) if gapped else cut, tmp_path, span)
    assert (found.verified, found.first_bad_position) == (False, 8 * step + 1), found.problem
    assert "cut short" in found.problem
