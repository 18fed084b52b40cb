"""A rebuild can be ended, held, gone on with, and looked at table by table; it tells nobody outside."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, inspect, update

from services.eventstore.event import BEGINNING, Position, RecordedEvent
from services.eventstore.memory import MemoryEventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Conflict, InvalidInput, RuleViolated, Unavailable
from services.projection.digest import tables_digest
from services.projection.generations import GENERATIONS, GenerationState
from services.projection.projection import HeldRebuild, RebuildMode, RebuildProgress
from services.projection.rebuilding import HELD_MAX
from services.rpc.rebuild_call import RebuildCall
from tests.projection_room import NOON, WAIT_S, Bench, SlugProjection, SlugTables, unheard

LETTERS = "abcdefghij"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A projection folded up to position 10, one letter each."""
    made = Bench(tmp_path / "tables.db")
    for slug in LETTERS:
        made.meter(slug)
    made.runner.start()
    made.runner.wait_for(Position(10), WAIT_S)
    yield made
    made.close()
    made.store.close()


class Cancelled(Conflict):
    """Somebody wants no more."""


def ending_at(position: int) -> Callable[[RebuildProgress], None]:
    """Ends the rebuild once it has come that far."""

    def heard(progress: RebuildProgress) -> None:
        if progress.position >= position:
            raise Cancelled("enough")

    return heard


def held_positions(bench: Bench) -> list[int]:
    return [held.position for held in bench.runner.status().held]


def tables_of(bench: Bench) -> set[str]:
    with bench.database.read() as connection:
        return {name for name in inspect(connection).get_table_names() if name.startswith("slugs")}


def cancel_at(bench: Bench, position: int) -> None:
    with pytest.raises(Cancelled):
        bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=ending_at(position))


def test_a_cancelled_rebuild_is_held_and_gone_on_with_from_where_it_stood(bench: Bench) -> None:
    cancel_at(bench, 6)
    assert held_positions(bench) == [6]
    heard: list[RebuildProgress] = []
    comparison = bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=heard.append, start=Position(6))
    assert comparison.is_equal
    assert comparison.is_swapped
    assert [(progress.position, progress.events) for progress in heard] == [(9, 9), (10, 10), (10, 10)]
    assert held_positions(bench) == []
    assert tables_of(bench) == {"slugs__g2"}
    assert bench.rows() == dict.fromkeys(LETTERS, 1)


def test_a_rebuild_is_gone_on_with_after_a_crash_of_the_service(bench: Bench) -> None:
    cancel_at(bench, 6)
    bench.restart(SlugProjection())
    bench.runner.start()
    assert bench.runner.status().held == (HeldRebuild(Position(6), 6, 2),)
    assert bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=unheard, start=Position(6)).is_equal


def test_a_rebuild_by_another_version_of_the_fold_is_not_gone_on_with(bench: Bench) -> None:
    cancel_at(bench, 6)
    bench.restart(SlugProjection(version=2))
    bench.runner.start()
    assert bench.runner.status().held == ()
    assert len(tables_of(bench)) == 1


def test_a_held_rebuild_of_another_log_is_dropped(bench: Bench) -> None:
    """The live tables are of this log again, but the held ones were folded from one that is gone."""
    cancel_at(bench, 6)
    with bench.database.write() as connection:
        built = GENERATIONS.c.state == GenerationState.BUILDING
        connection.execute(update(GENERATIONS).where(built).values(leaf=b"another"))
    bench.restart(SlugProjection())
    bench.runner.start()
    assert bench.runner.status().held == ()


@pytest.mark.parametrize("mode", RebuildMode)
def test_a_rebuild_that_is_cancelled_while_it_is_compared_is_held_and_not_swapped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, mode: RebuildMode
) -> None:
    call = RebuildCall()

    def cancelled_meanwhile(*arguments: Any) -> str:
        call.cancel()
        return tables_digest(*arguments)

    monkeypatch.setattr("services.projection.tableset.tables_digest", cancelled_meanwhile)
    with pytest.raises(Conflict, match="was cancelled at position 10"):
        bench.runner.rebuild(mode=mode, progress=call.tell)
    assert held_positions(bench) == [10]
    assert tables_of(bench) == {"slugs__g1", "slugs__g2"}


def test_a_rebuild_that_is_gone_on_with_at_the_end_says_how_many_events_it_holds(bench: Bench) -> None:
    bench.runner.rebuild_until(until=Position(10), progress=unheard)
    heard: list[RebuildProgress] = []
    bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=heard.append, start=Position(10))
    assert [(progress.position, progress.events) for progress in heard] == [(10, 10)]


def test_a_rebuild_from_the_first_event_leaves_a_held_one_alone(bench: Bench) -> None:
    cancel_at(bench, 6)
    assert bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=unheard).is_equal
    assert held_positions(bench) == [6]
    assert bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=unheard, start=Position(6)).is_equal
    assert held_positions(bench) == []


def test_a_rebuild_is_held_at_a_chosen_position_and_goes_on_from_there(bench: Bench) -> None:
    held = bench.runner.rebuild_until(until=Position(4), progress=unheard)
    assert (held.position, held.events) == (4, 4)
    further = bench.runner.rebuild_until(until=Position(8), progress=unheard, start=Position(4))
    assert (further.position, further.events) == (8, 8)
    assert held_positions(bench) == [8]
    assert bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=unheard, start=Position(8)).is_equal


def test_a_position_where_nothing_is_held_is_refused_with_what_is_held(bench: Bench) -> None:
    bench.runner.rebuild_until(until=Position(4), progress=unheard)
    bench.runner.rebuild_until(until=Position(7), progress=unheard)
    with pytest.raises(RuleViolated, match=r"held at position 5; held are: 4, 7") as refusal:
        bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=unheard, start=Position(5))
    assert refusal.value.reason == "NO_REBUILD_HELD"


@pytest.mark.parametrize(("until", "start"), [(11, 0), (4, 4), (3, 4)])
def test_a_rebuild_cannot_stop_where_it_never_comes(bench: Bench, until: int, start: int) -> None:
    bench.runner.rebuild_until(until=Position(4), progress=unheard)
    with pytest.raises(InvalidInput, match="cannot stop at position"):
        bench.runner.rebuild_until(until=Position(until), progress=unheard, start=Position(start))


def test_held_rebuilds_are_bounded_and_can_be_discarded(bench: Bench) -> None:
    for position in range(1, HELD_MAX + 1):
        bench.runner.rebuild_until(until=Position(position), progress=unheard)
    with pytest.raises(RuleViolated, match="--discard slugs") as refusal:
        bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=unheard)
    assert refusal.value.reason == "REBUILDS_HELD"
    assert [held.position for held in bench.runner.discard(Position(2))] == [2]
    assert [held.position for held in bench.runner.discard(None)] == [1, 3]
    assert tables_of(bench) == {"slugs__g1"}
    assert bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=unheard).is_equal


def test_a_rebuild_that_had_folded_nothing_leaves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Unavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(bench.store, "read_all", fail)
        with pytest.raises(Unavailable):
            bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=unheard)
    assert held_positions(bench) == []
    assert tables_of(bench) == {"slugs__g1"}


def test_a_service_that_stops_holds_its_rebuild(bench: Bench) -> None:
    def stop(_progress: RebuildProgress) -> None:
        bench.runner.stop(WAIT_S)

    with pytest.raises(Unavailable, match="--resume"):
        bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=stop)
    bench.restart(SlugProjection())
    bench.runner.start()
    assert held_positions(bench) == [3]


def test_a_dry_run_shows_which_keys_of_which_table_differ(bench: Bench) -> None:
    with bench.database.write() as connection, bench.runner.read() as (_, tables):
        connection.execute(update(tables.slugs).where(tables.slugs.c.slug == "a").values(events=7))
        connection.execute(delete(tables.slugs).where(tables.slugs.c.slug == "b"))
        connection.execute(insert(tables.slugs).values(slug="zz", events=1))
    comparison = bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=unheard, examples=2)
    assert not comparison.is_equal
    (difference,) = comparison.differences
    assert (difference.table, difference.rows) == ("slugs", 3)
    assert (difference.live_rows, difference.rebuilt_rows) == (10, 10)
    assert difference.example_keys == ("slug=a", "slug=b")
    assert tables_of(bench) == {"slugs__g1"}


def test_equal_tables_have_no_differences(bench: Bench) -> None:
    assert bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=unheard, examples=5).differences == ()


class StoppedOnce(SlugProjection):
    """Its first generation cannot fold the letter k."""

    def fold(self, connection: Connection, tables: SlugTables, events: Sequence[RecordedEvent]) -> None:
        self.poison = "k" if tables.slugs.name.endswith("__g1") else ""
        super().fold(connection, tables, events)


def test_a_rebuild_ahead_of_live_tables_that_stand_still_is_held_and_not_compared(bench: Bench) -> None:
    bench.restart(StoppedOnce())
    bench.runner.start()
    bench.meter("k")
    bench.runner.rebuild_until(until=Position(11), progress=unheard)
    with pytest.raises(RuleViolated, match="ahead of the live tables at 10") as refusal:
        bench.runner.rebuild(mode=RebuildMode.REPLACE, progress=unheard, start=Position(11))
    assert refusal.value.reason == "REBUILD_AHEAD"
    assert held_positions(bench) == [11]
    assert bench.rows() == dict.fromkeys(LETTERS, 1)


def test_a_rebuild_appends_nothing(bench: Bench) -> None:
    head = bench.store.head()
    bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=unheard)
    bench.runner.rebuild_until(until=Position(4), progress=unheard)
    bench.runner.rebuild(mode=RebuildMode.REPLACE, progress=unheard, start=Position(4))
    assert bench.store.head() == head


def test_several_projections_are_rebuilt_side_by_side(tmp_path: Path) -> None:
    """Each waits in the middle until all have begun."""
    benches = [Bench(tmp_path / f"{number}.db") for number in range(3)]
    all_have_begun = threading.Barrier(len(benches), timeout=WAIT_S)
    outcomes: list[bool] = []

    def rebuild(bench: Bench) -> None:
        first = iter([True])

        def wait(_progress: RebuildProgress) -> None:
            if next(first, False):
                all_have_begun.wait()

        outcomes.append(bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=wait).is_swapped)

    for bench in benches:
        bench.meter("a")
        bench.runner.start()
        bench.runner.wait_for(Position(1), WAIT_S)
    threads = [threading.Thread(daemon=True, target=rebuild, args=(bench,)) for bench in benches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    for bench in benches:
        bench.close()
        bench.store.close()
    assert outcomes == [True] * 3


def test_nothing_is_rebuilt_or_dropped_before_the_live_tables_are_known(bench: Bench) -> None:
    cancel_at(bench, 6)
    bench.restart(SlugProjection())
    with pytest.raises(Unavailable, match="has not started"):
        bench.runner.rebuild(mode=RebuildMode.REPLACE, progress=unheard)
    with pytest.raises(Unavailable, match="has not started"):
        bench.runner.discard(None)
    assert bench.runner.parked(BEGINNING, 10) == ()
    bench.runner.start()
    assert held_positions(bench) == [6]


def test_an_empty_log_is_rebuilt_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "tables.db")
    bench.store = MemoryEventStore(SimulatedClock(NOON))
    bench.restart(SlugProjection())
    bench.runner.start()
    assert bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=unheard).is_equal
    assert bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=unheard).is_swapped
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    assert bench.rows() == {"a": 1}
    bench.close()
    bench.store.close()
