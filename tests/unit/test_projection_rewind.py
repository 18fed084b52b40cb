"""A log that is rewound or replaced under a projection is found at its start, while it runs, and before a fold."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from services.eventstore.event import Position
from services.eventstore.sqlite.store import SqliteEventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import RuleViolated
from services.projection import runner
from services.projection.projection import RebuildMode
from tests.projection_room import NOON, WAIT_S, Bench, SlugProjection, unheard


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A projection on a log in a file."""
    monkeypatch.setattr(runner, "REWIND_LOOK_S", 0.01)
    made = Bench(tmp_path / "tables.db")
    made.store = SqliteEventStore(tmp_path / "events.db", SimulatedClock(NOON))
    made.restart(SlugProjection())
    yield made
    made.close()
    made.store.close()


def copy(source: Path, target: Path) -> None:
    """SQLite's own backup, which also writes over a log that is in use."""
    with closing(sqlite3.connect(source)) as from_, closing(sqlite3.connect(target)) as to:
        from_.backup(to)


def until_not_ready(bench: Bench) -> None:
    waiting = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        if not bench.runner.is_ready() and bench.runner.problem():
            return
        waiting.wait(0.01)
    raise AssertionError("still ready")


def test_a_log_that_shrinks_under_a_running_projection_is_found(bench: Bench, tmp_path: Path) -> None:
    log, backup = tmp_path / "events.db", tmp_path / "backup.db"
    bench.meter("a")
    copy(log, backup)
    bench.runner.start()
    bench.runner.wait_for(bench.meter("b"), WAIT_S)
    copy(backup, log)
    until_not_ready(bench)
    assert "cut short, restored or replaced" in bench.runner.status().stop_reason
    assert not bench.runner.status().is_caught_up
    assert bench.rows() == {"a": 1, "b": 1}, "what was folded is still answered"


def test_a_restart_after_that_is_refused_and_leaves_the_tables(bench: Bench, tmp_path: Path) -> None:
    log, backup = tmp_path / "events.db", tmp_path / "backup.db"
    bench.meter("a")
    copy(log, backup)
    bench.runner.start()
    bench.runner.wait_for(bench.meter("b"), WAIT_S)
    bench.close()
    bench.store.close()
    copy(backup, log)
    bench.store = SqliteEventStore(log, SimulatedClock(NOON))
    bench.restart(SlugProjection())
    with pytest.raises(RuleViolated, match="delete the projection's database") as refusal:
        bench.runner.start()
    assert refusal.value.reason == "LOG_REWOUND"
    assert bench.rows() == {"a": 1, "b": 1}


def test_events_of_a_log_that_grew_anew_are_not_folded_onto_tables_of_the_old_one(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the look between: the fold itself compares."""
    monkeypatch.setattr(runner, "REWIND_LOOK_S", WAIT_S)
    log, backup = tmp_path / "events.db", tmp_path / "backup.db"
    bench.meter("a")
    copy(log, backup)
    bench.runner.start()
    bench.runner.wait_for(bench.meter("b"), WAIT_S)
    copy(backup, log)
    with closing(SqliteEventStore(log, SimulatedClock(NOON))) as another:
        followed, bench.store = bench.store, another
        bench.meter("x")
        bench.meter("y")
        bench.store = followed
    until_not_ready(bench)
    assert "cut short" in bench.runner.status().stop_reason
    assert bench.rows() == {"a": 1, "b": 1}


def test_a_rebuild_finds_a_log_that_is_rewound_meanwhile(bench: Bench, tmp_path: Path) -> None:
    log, backup = tmp_path / "events.db", tmp_path / "backup.db"
    bench.meter("a")
    copy(log, backup)
    bench.runner.start()
    bench.runner.wait_for([bench.meter(slug) for slug in "bcdefgh"][-1], WAIT_S)
    bench.runner.rebuild_until(until=Position(4), progress=unheard)
    copy(backup, log)
    with pytest.raises(RuleViolated, match="cut short"):
        bench.runner.rebuild(mode=RebuildMode.REPLACE, progress=unheard, start=Position(4))
