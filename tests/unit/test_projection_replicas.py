"""Replicas of a service share read models in PostgreSQL: one folds, all answer, another goes on when it is gone."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from services.eventstore.event import Batch, CaughtUp, Page, Position
from services.eventstore.memory import MemoryEventStore
from services.eventstore.store import EventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Conflict, TimedOut, Unavailable
from services.projection.database import Database
from services.projection.database_url import TablesAddress
from services.projection.owner_lock import Follows, session_name
from services.projection.projection import RebuildMode
from services.projection.skipping import Decision
from tests.projection_replicas_room import Replicas, end_sessions_that_fold, eventually
from tests.projection_room import NOON, WAIT_S, unheard


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
        first.runner._thread.stop(WAIT_S)  # else it may be the quicker one, and lead again
        first.runner._watch.stop(WAIT_S)
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


def test_who_writes_when_nobody_leads_leads(bench: Replicas) -> None:
    first, second = (Database.open(bench.url, is_shared=True) for _ in range(2))
    assert first.leads()
    assert not second.leads()
    first.close()
    with second.write():
        pass
    assert second.leads()
    second.close()


def test_who_led_again_swaps_nothing_in_over_what_another_has_folded_meanwhile(
    bench: Replicas, administrator: psycopg.Connection
) -> None:
    for number in range(6):
        bench.meter(f"m{number}")
    first = bench.join()
    first.runner.wait_for(bench.store.head().position, WAIT_S)
    bench.one_leads()

    def lose_and_win(_progress: object) -> None:
        """Another one leads, folds, and is gone before the rebuild writes again."""
        if bench.store.head().position == 6:
            first.runner._thread.stop(WAIT_S)  # nothing but the rebuild goes on
            first.runner._watch.stop(WAIT_S)
            end_sessions_that_fold(administrator)
            second = bench.join()
            second.runner.wait_for(bench.archive("m0"), WAIT_S)
            bench.end(second)

    with pytest.raises(Conflict, match="another replica"):
        first.runner.rebuild(mode=RebuildMode.REPLACE, progress=lose_and_win)
    assert bench.join().rows()["m0"] == 2


def test_one_that_cannot_read_the_log_leaves_the_lead_to_one_that_can(bench: Replicas) -> None:
    log = CutOff(bench.store)
    first, second = bench.join(store=log), bench.join()
    second.runner.wait_for(bench.meter("a"), WAIT_S)
    assert bench.one_leads() is first
    log.is_cut_off = True
    last = bench.archive("a")
    second.runner.wait_for(last, WAIT_S)
    assert second.rows() == {"a": 2}
    eventually(second.runner.is_leading)
    log.is_cut_off = False
    first.runner.wait_for(last, WAIT_S)
    eventually(first.runner.is_ready)
    assert first.rows() == {"a": 2}


def test_one_alone_goes_on_when_it_can_read_the_log_again(bench: Replicas) -> None:
    log = CutOff(bench.store)
    only = bench.join(store=log)
    only.runner.wait_for(bench.meter("a"), WAIT_S)
    log.is_cut_off = True
    last = bench.archive("a")
    eventually(lambda: "cut off" in only.runner.problem())
    log.is_cut_off = False
    only.runner.wait_for(last, WAIT_S)
    assert only.rows() == {"a": 2}
    eventually(only.runner.is_leading)


class CutOff:
    """A way to a log that can be cut off: then it cannot be read."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self.is_cut_off = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read_all(self, **asked: Any) -> Page:
        self._require_way()
        return self._store.read_all(**asked)

    def leaf_at(self, position: Position) -> bytes:
        self._require_way()
        return self._store.leaf_at(position)

    def subscribe(self, **asked: Any) -> Iterator[Batch | CaughtUp]:
        for item in self._store.subscribe(**asked):
            self._require_way()
            yield item

    def _require_way(self) -> None:
        if self.is_cut_off:
            raise Unavailable("the log is cut off")
