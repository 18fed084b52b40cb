"""What a read model says and does when the log, the fold or the caller is not as it should be."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from services.eventstore.event import Position
from services.eventstore.memory import MemoryEventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import DomainError, InvalidInput, Overloaded, RuleViolated, TimedOut, Unavailable
from services.projection.arrivals import READERS_WAITING_MAX
from services.projection.database import Database
from tests.projection_room import NOON, WAIT_S, Bench, SlugProjection


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "tables.db")
    yield made
    made.close()
    made.store.close()


def test_a_new_version_of_the_fold_starts_from_the_first_event(bench: Bench) -> None:
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    changed = SlugProjection(version=2)
    changed.weight = 10
    bench.restart(changed)
    bench.runner.start()
    bench.runner.wait_for(bench.meter("b"), WAIT_S)
    assert bench.rows() == {"a": 10, "b": 10}


def test_a_log_cut_short_under_a_projection_is_refused_with_the_remedy(bench: Bench) -> None:
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    bench.store = MemoryEventStore(SimulatedClock(NOON))
    bench.restart(SlugProjection())
    with pytest.raises(RuleViolated, match="cut short") as refusal:
        bench.runner.start()
    assert refusal.value.reason == "LOG_REWOUND"


def test_a_log_restored_and_grown_past_the_checkpoint_is_refused(bench: Bench) -> None:
    bench.runner.start()
    bench.runner.wait_for([bench.meter(slug) for slug in "abc"][-1], WAIT_S)
    bench.store = MemoryEventStore(SimulatedClock(NOON))
    for slug in "axyz":
        bench.meter(slug)
    bench.restart(SlugProjection())
    with pytest.raises(RuleViolated, match="restored") as refusal:
        bench.runner.start()
    assert refusal.value.reason == "LOG_REWOUND"


def test_a_log_restored_under_events_of_others_is_refused(bench: Bench) -> None:
    bench.meter("a")
    bench.runner.start()
    bench.runner.wait_for(bench.elsewhere(), WAIT_S)
    bench.store = MemoryEventStore(SimulatedClock(NOON))
    for slug in "ab":
        bench.meter(slug)
    bench.restart(SlugProjection())
    with pytest.raises(RuleViolated, match="restored"):
        bench.runner.start()


def test_a_position_that_the_log_has_not_reached_is_refused_at_once(bench: Bench) -> None:
    bench.runner.start()
    with pytest.raises(InvalidInput, match="log's end"):
        bench.runner.wait_for_reader(Position(2**63 - 1), WAIT_S)


def test_who_waits_is_told_when_the_service_stops(bench: Bench) -> None:
    bench.projection.poison = "a"
    bench.runner.start()
    position = bench.meter("a")
    refusals: list[str] = []

    def wait() -> None:
        try:
            bench.runner.wait_for(position, WAIT_S)
        except Unavailable as refusal:
            refusals.append(refusal.message)

    waiting = threading.Thread(daemon=True, target=wait)
    waiting.start()
    bench.runner.stop(WAIT_S)
    waiting.join(WAIT_S)
    assert refusals == ["the service is stopping; repeat later"]


def test_however_many_write_at_once_each_reads_what_it_wrote(bench: Bench) -> None:
    bench.projection.poison = "m0"
    bench.runner.start()
    failures: list[Exception] = []

    def wait(position: Position) -> None:
        try:
            bench.runner.wait_for(position, WAIT_S)
        except DomainError as error:
            failures.append(error)

    positions = [bench.meter(f"m{number}") for number in range(2 * READERS_WAITING_MAX)]
    waiting = [threading.Thread(daemon=True, target=wait, args=(position,)) for position in positions]
    for thread in waiting:
        thread.start()
    bench.projection.poison = ""
    for thread in waiting:
        thread.join(WAIT_S)
    assert failures == []
    assert len(bench.rows()) == len(positions)


def test_waiting_readers_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.projection.arrivals.READERS_WAITING_MAX", 0)
    bench.restart(SlugProjection())
    bench.projection.poison = "a"
    bench.runner.start()
    with pytest.raises(Overloaded):
        bench.runner.wait_for_reader(bench.meter("a"), WAIT_S)


def test_an_event_that_cannot_be_folded_stops_the_projection_and_is_reported(bench: Bench) -> None:
    bench.projection.poison = "b"
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    position = bench.meter("b")
    with pytest.raises(TimedOut):
        bench.runner.wait_for(position, 0.3)
    assert "poison" in bench.runner.problem()
    assert not bench.runner.is_ready()
    assert bench.rows() == {"a": 1}
    bench.projection.poison = ""
    bench.runner.wait_for(position, WAIT_S)
    assert bench.rows() == {"a": 1, "b": 1}
    assert bench.runner.is_ready()


def test_one_process_at_a_time_has_the_read_models(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.projection.database_sqlite.FILE_LOCK_TIMEOUT_S", 0.1)
    monkeypatch.setattr("services.projection.database_postgres.LOCK_TIMEOUT_S", 0.1)
    with pytest.raises(RuleViolated, match="another process"):
        Database.open(bench.url)


def test_readers_see_one_snapshot_while_the_fold_goes_on(bench: Bench) -> None:
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    with bench.runner.read() as (connection, tables):
        before = connection.execute(select(tables.slugs)).all()
        folded = threading.Event()
        threading.Thread(
            daemon=True, target=lambda: (bench.runner.wait_for(bench.meter("b"), WAIT_S), folded.set())
        ).start()
        assert folded.wait(WAIT_S)
        assert connection.execute(select(tables.slugs)).all() == before
    assert bench.rows() == {"a": 1, "b": 1}
