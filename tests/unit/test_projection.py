"""A read model is folded once from the log, can be thrown away, and comes back the same."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, select
from sqlalchemy.dialects.sqlite import insert

from meterlog.events.v1.meter_pb2 import MeterArchived, MeterCreated
from services.eventstore.catalogue import decode, encode
from services.eventstore.event import NO_STREAM, Position, RecordedEvent, StreamName
from services.eventstore.memory import MemoryEventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import InvalidInput, Overloaded, RuleViolated, TimedOut, Unavailable
from services.projection.database import Database
from services.projection.projection import RebuildMode, RebuildProgress
from services.projection.runner import ProjectionRunner

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class SlugTables:
    """One row a meter: how often it was heard of."""

    slugs: Table


class SlugProjection:
    """Counts the events of each meter; `weight` stands for a bug in the fold."""

    name = "slugs"
    categories = frozenset({"meter"})

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.weight = 1
        self.poison = ""

    def tables(self, metadata: MetaData, suffix: str) -> SlugTables:
        return SlugTables(
            Table("slugs" + suffix, metadata, Column("slug", Text, primary_key=True), Column("events", Integer))
        )

    def fold(self, connection: Connection, tables: SlugTables, events: Sequence[RecordedEvent]) -> None:
        for event in events:
            message = decode(event)
            assert isinstance(message, MeterCreated | MeterArchived)
            if message.slug == self.poison:
                raise ValueError("poison")
            row = insert(tables.slugs).values(slug=message.slug, events=self.weight)
            count = tables.slugs.c.events + self.weight
            connection.execute(row.on_conflict_do_update(index_elements=["slug"], set_={"events": count}))


class Bench:
    """A log in memory, a database in a file, and one projection on them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = MemoryEventStore(SimulatedClock(NOON))
        self.database = Database.open(f"sqlite:///{path}")
        self.projection = SlugProjection()
        self.runner = ProjectionRunner(self.store, self.database, self.projection, batch_max=3)

    def meter(self, slug: str) -> Position:
        stream = StreamName("meter", slug)
        return self.store.append(stream, [encode(MeterCreated(slug=slug), stream, 0, NOON)], NO_STREAM).position

    def archive(self, slug: str) -> Position:
        stream = StreamName("meter", slug)
        return self.store.append(stream, [encode(MeterArchived(slug=slug), stream, 1, NOON)], 0).position

    def elsewhere(self) -> Position:
        stream = StreamName("customer", f"c{self.store.head().position}")
        return self.store.append(stream, [encode(MeterCreated(slug="x"), stream, 0, NOON)], NO_STREAM).position

    def rows(self) -> dict[str, int]:
        with self.runner.read() as (connection, tables):
            return {row.slug: row.events for row in connection.execute(select(tables.slugs))}

    def restart(self, projection: SlugProjection) -> None:
        self.close()
        self.database = Database.open(f"sqlite:///{self.path}")
        self.projection = projection
        self.runner = ProjectionRunner(self.store, self.database, projection, batch_max=3)

    def close(self) -> None:
        self.runner.stop(WAIT_S)
        self.database.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "tables.db")
    yield made
    made.close()
    made.store.close()


def unheard(_progress: RebuildProgress) -> None:
    return None


def test_a_caller_reads_what_it_wrote(bench: Bench) -> None:
    bench.runner.start()
    bench.meter("a")
    bench.runner.wait_for(bench.archive("a"), WAIT_S)
    assert bench.rows() == {"a": 2}


def test_the_checkpoint_passes_events_of_others(bench: Bench) -> None:
    bench.meter("a")
    bench.runner.start()
    bench.runner.wait_for(bench.elsewhere(), WAIT_S)
    assert bench.rows() == {"a": 1}
    assert bench.runner.is_ready()


def test_after_a_restart_nothing_is_folded_twice(bench: Bench) -> None:
    bench.runner.start()
    bench.runner.wait_for([bench.meter(slug) for slug in "abcde"][-1], WAIT_S)
    bench.restart(SlugProjection())
    bench.runner.start()
    bench.runner.wait_for(bench.meter("f"), WAIT_S)
    assert bench.rows() == dict.fromkeys("abcdef", 1)


def test_a_rebuilt_projection_is_equal_and_takes_over(bench: Bench) -> None:
    for slug in "abcdefgh":
        bench.meter(slug)
    bench.runner.start()
    bench.runner.wait_for(bench.archive("a"), WAIT_S)
    heard: list[RebuildProgress] = []
    comparison = bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=heard.append)
    assert comparison.is_equal
    assert comparison.is_swapped
    assert heard[-1].events == 9
    assert bench.runner.status().generation == 2
    bench.runner.wait_for(bench.meter("i"), WAIT_S)
    assert bench.rows() == {**dict.fromkeys("bcdefghi", 1), "a": 2}


def test_comparing_only_leaves_the_live_tables(bench: Bench) -> None:
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    comparison = bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=unheard)
    assert comparison.is_equal
    assert not comparison.is_swapped
    assert bench.runner.status().generation == 1


def test_a_fold_that_drifted_is_found_and_never_swapped_in(bench: Bench) -> None:
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    bench.projection.weight = 2
    comparison = bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=unheard)
    assert not comparison.is_equal
    assert not comparison.is_swapped
    assert bench.rows() == {"a": 1}


def test_an_operator_repairs_tables_that_drifted_from_the_log(bench: Bench) -> None:
    bench.projection.weight = 2
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    bench.projection.weight = 1
    comparison = bench.runner.rebuild(mode=RebuildMode.REPLACE, progress=unheard)
    assert not comparison.is_equal
    assert comparison.is_swapped
    bench.runner.wait_for(bench.archive("a"), WAIT_S)
    assert bench.rows() == {"a": 2}


def test_queries_are_answered_while_a_rebuild_runs_and_a_second_rebuild_is_refused(bench: Bench) -> None:
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    seen: list[dict[str, int]] = []
    refusals: list[str] = []

    def look(_progress: RebuildProgress) -> None:
        seen.append(bench.rows())
        try:
            bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=unheard)
        except RuleViolated as refusal:
            refusals.append(refusal.reason)

    bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=look)
    assert seen == [{"a": 1}]
    assert refusals == ["REBUILD_RUNS"]


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
        bench.runner.wait_for(Position(2**63 - 1), WAIT_S)


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

    waiting = threading.Thread(target=wait)
    waiting.start()
    bench.runner.stop(WAIT_S)
    waiting.join(WAIT_S)
    assert refusals == ["the service is stopping; repeat later"]


def test_waiting_calls_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.projection.runner.WAITERS_MAX", 0)
    bench.restart(SlugProjection())
    bench.projection.poison = "a"
    bench.runner.start()
    with pytest.raises(Overloaded):
        bench.runner.wait_for(bench.meter("a"), WAIT_S)


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
    monkeypatch.setattr("services.projection.database.FILE_LOCK_TIMEOUT_S", 0.1)
    with pytest.raises(RuleViolated, match="another process"):
        Database.open(f"sqlite:///{bench.path}")


def test_readers_see_one_snapshot_while_the_fold_goes_on(bench: Bench) -> None:
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    with bench.runner.read() as (connection, tables):
        before = connection.execute(select(tables.slugs)).all()
        folded = threading.Event()
        threading.Thread(target=lambda: (bench.runner.wait_for(bench.meter("b"), WAIT_S), folded.set())).start()
        assert folded.wait(WAIT_S)
        assert connection.execute(select(tables.slugs)).all() == before
    assert bench.rows() == {"a": 1, "b": 1}
