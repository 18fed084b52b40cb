"""Replicas of a service share its read models in PostgreSQL: one folds, all answer, and another goes on when it is gone."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select

from services.eventstore.event import Position
from services.eventstore.memory import MemoryEventStore
from services.kernel.clock import SimulatedClock, monotonic_s
from services.kernel.errors import TimedOut, Unavailable
from services.projection.database import Database
from services.projection.database_url import TablesAddress
from services.projection.owner_lock import Follows, session_name
from services.projection.projection import RebuildMode
from services.projection.runner import ProjectionRunner
from services.projection.skipping import Decision
from tests.databases import POSTGRES, tables_url
from tests.projection_room import NOON, WAIT_S, Bench, SlugProjection, SlugTables, unheard


class Replica:
    """One process's part: a database that it shares, and a projection."""

    def __init__(self, bench: "Replicas", version: int = 1) -> None:
        self.database = Database.open(bench.url, is_shared=True)
        self.projection = SlugProjection(version)
        self.runner: ProjectionRunner[SlugTables] = ProjectionRunner(
            bench.store, self.database, self.projection, batch_max=3
        )

    def started(self) -> "Replica":
        self.runner.start()
        return self

    def rows(self) -> dict[str, int]:
        with self.runner.read() as (connection, tables):
            return {row.slug: row.events for row in connection.execute(select(tables.slugs))}

    def end(self) -> None:
        self.runner.stop(WAIT_S)
        self.database.close()


class Replicas(Bench):
    """A log, and replicas on one schema, numbered in the order of their start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = tables_url(POSTGRES, path.parent, path.stem)
        self.store = MemoryEventStore(SimulatedClock(NOON))
        self.members: list[Replica] = []

    def join(self, version: int = 1) -> Replica:
        self.members.append(Replica(self, version).started())
        return self.members[-1]

    def leading(self) -> list[Replica]:
        return [member for member in self.members if member.runner.is_leading()]

    def one_leads(self) -> Replica:
        eventually(lambda: len(self.leading()) == 1)
        return self.leading()[0]

    def end(self, member: Replica) -> None:
        self.members.remove(member)
        member.end()

    def close(self) -> None:
        for member in self.members:
            member.end()


def eventually(is_so: Callable[[], bool]) -> None:
    deadline = monotonic_s() + WAIT_S
    while not is_so():
        assert monotonic_s() < deadline, "it did not become so"
        threading.Event().wait(0.01)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Replicas]:
    opened = Replicas(tmp_path / "tables")
    yield opened
    opened.close()


@pytest.fixture
def administrator(bench: Replicas) -> Iterator[psycopg.Connection]:
    with psycopg.connect(TablesAddress.parse(bench.url, "tables").conninfo, autocommit=True) as connection:
        yield connection


def test_one_folds_and_all_answer_the_same_at_the_same_position(bench: Replicas) -> None:
    bench.meter("a")
    members = [bench.join() for _ in range(3)]
    last = bench.meter("b")
    for member in members:
        member.runner.wait_for(last, WAIT_S)
        assert (member.rows(), member.runner.position()) == ({"a": 1, "b": 1}, last)
    assert bench.leading() == members[:1]
    eventually(lambda: all(member.runner.is_ready() for member in members))
    assert all(not member.runner.problem() for member in members)


def test_another_replica_goes_on_where_the_one_that_folded_has_stopped(bench: Replicas) -> None:
    first, second = bench.join(), bench.join()
    second.runner.wait_for(bench.meter("a"), WAIT_S)
    bench.end(first)
    last = bench.archive("a")
    second.runner.wait_for(last, WAIT_S)
    assert second.rows() == {"a": 2}
    assert bench.one_leads() is second


def test_nothing_is_folded_twice_however_often_the_session_that_folds_is_cut_off(
    bench: Replicas, administrator: psycopg.Connection
) -> None:
    for _ in range(3):
        bench.join()
    slugs = [f"m{number}" for number in range(60)]
    last = Position(0)
    for slug in slugs:
        bench.meter(slug)
        last = bench.archive(slug)
        if slug.endswith("5"):
            end_sessions_that_fold(administrator)
    for member in bench.members:
        member.runner.wait_for(last, WAIT_S)
        assert member.rows() == dict.fromkeys(slugs, 2)
    bench.one_leads()


def end_sessions_that_fold(administrator: psycopg.Connection) -> None:
    administrator.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )


def test_who_only_lost_its_session_follows_the_one_that_took_over(
    bench: Replicas, administrator: psycopg.Connection
) -> None:
    first = bench.join()
    first.runner.wait_for(bench.meter("a"), WAIT_S)
    end_sessions_that_fold(administrator)
    second = bench.join()
    last = bench.meter("b")
    for member in (first, second):
        member.runner.wait_for(last, WAIT_S)
        assert member.rows() == {"a": 1, "b": 1}
    bench.one_leads()
    eventually(first.runner.is_ready)


def test_what_only_the_one_that_folds_can_do_is_refused_by_name_of_that_one(bench: Replicas) -> None:
    first, second = bench.join(), bench.join()
    second.runner.wait_for(bench.meter("a"), WAIT_S)
    bench.one_leads()
    orders = (
        lambda: second.runner.rebuild(mode=RebuildMode.REPLACE, progress=unheard),
        lambda: second.runner.rebuild_until(until=Position(1), progress=unheard),
        lambda: second.runner.discard(None),
        lambda: second.runner.skip(Position(1), Decision("spoilt", "", "", NOON)),
    )
    for order in orders:
        with pytest.raises(Follows, match=session_name()) as refused:
            order()
        assert refused.value.reason == "REPLICA_FOLLOWS"
    assert second.runner.status().leader == session_name()
    assert first.runner.status().leader == ""


def test_a_decision_to_skip_is_heard_by_those_that_follow(bench: Replicas) -> None:
    first, second = bench.join(), bench.join()
    position = bench.renamed("a")
    second.runner.wait_for(position, WAIT_S)
    eventually(lambda: not second.runner.is_whole())
    first.runner.skip(position, Decision("spoilt", "", "", NOON))
    eventually(second.runner.is_whole)
    eventually(lambda: len(second.runner.skipped()) == 1)


def test_those_that_follow_read_the_tables_that_a_rebuild_has_swapped_in(bench: Replicas) -> None:
    first, second = bench.join(), bench.join()
    last = bench.meter("a")
    first.runner.wait_for(last, WAIT_S)
    assert first.runner.rebuild(mode=RebuildMode.REPLACE, progress=unheard).is_swapped
    eventually(lambda: second.runner.status().generation == first.runner.status().generation)
    second.runner.wait_for(bench.archive("a"), WAIT_S)
    assert second.rows() == {"a": 2}


def test_a_rebuild_whose_replica_loses_the_lead_is_held_for_the_next(
    bench: Replicas, administrator: psycopg.Connection
) -> None:
    for number in range(12):
        bench.meter(f"m{number}")
    first, second = bench.join(), bench.join()
    head = bench.store.head().position
    second.runner.wait_for(head, WAIT_S)

    def lose(_progress: object) -> None:
        end_sessions_that_fold(administrator)
        eventually(second.runner.is_leading)

    with pytest.raises(Follows):
        first.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=lose)
    held = second.runner.status().held
    assert [each.position for each in held] == [3]
    with suppress(TimedOut):
        second.runner.wait_for(head, WAIT_S)
    again = second.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=unheard, start=held[0].position)
    assert again.is_swapped


def test_a_replica_of_another_release_neither_answers_nor_drops_anything_until_it_folds(bench: Replicas) -> None:
    old = bench.join()
    old.runner.wait_for(bench.meter("a"), WAIT_S)
    new = bench.join(version=2)
    eventually(lambda: "another release" in new.runner.problem())
    assert not new.runner.is_ready()
    with pytest.raises(Unavailable, match="another release"):
        new.rows()
    assert old.rows() == {"a": 1}
    bench.end(old)
    eventually(new.runner.is_ready)
    assert new.rows() == {"a": 1}


def test_one_that_follows_notices_that_its_log_is_another(bench: Replicas) -> None:
    first = bench.join()
    first.runner.wait_for(bench.meter("a"), WAIT_S)
    bench.store = MemoryEventStore(SimulatedClock(NOON))
    stranger = bench.join()
    eventually(lambda: "another log" in stranger.runner.problem())
    assert not stranger.runner.is_ready()


def test_what_one_replica_does_alone_waits_for_the_others(bench: Replicas) -> None:
    first, second = bench.join(), bench.join()
    with first.database.alone("deciding", WAIT_S):
        with pytest.raises(TimedOut, match="another replica"), second.database.alone("deciding", 0.05):
            pytest.fail("both at once")
        with second.database.alone("something else", WAIT_S):
            pass
    with second.database.alone("deciding", WAIT_S):
        pass
