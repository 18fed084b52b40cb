"""A commit whose answer was lost is found out, and folding goes on from where the tables really stand."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from services.kernel.errors import Unavailable
from services.projection.database import Database
from services.projection.live import LiveTables
from services.projection.projection import RebuildMode
from tests.databases import DATABASES
from tests.projection_room import WAIT_S, Bench, unheard


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "tables.db", request.param)
    yield made
    made.close()


def test_a_fold_that_was_committed_unheard_is_not_repeated(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.runner.start()
    bench.runner.wait_for(bench.meter("first"), WAIT_S)
    write, lost = Database.write, list[str]()

    @contextmanager
    def write_unheard(database: Database, *wait_s: float) -> Iterator[Connection]:
        with write(database, *wait_s) as connection:
            yield connection
        if not lost:
            lost.append("the answer")
            raise Unavailable("the server was gone before it answered")

    monkeypatch.setattr(Database, "write", write_unheard)
    bench.meter("second")
    bench.runner.wait_for(bench.meter("third"), WAIT_S)
    assert lost
    assert bench.rows() == {"first": 1, "second": 1, "third": 1}
    assert not bench.runner.problem()


@pytest.mark.parametrize("slugs", [(), ("first",)])
def test_a_swap_that_was_committed_unheard_is_known_at_once_and_its_tables_stay(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, slugs: tuple[str, ...]
) -> None:
    bench.runner.start()
    for slug in slugs:
        bench.runner.wait_for(bench.meter(slug), WAIT_S)
    write, swap_to = Database.write, LiveTables.swap_to

    @contextmanager
    def write_unheard(database: Database, *wait_s: float) -> Iterator[Connection]:
        with write(database, *wait_s) as connection:
            yield connection
        raise Unavailable("the server was gone before it answered")

    def swap_unheard(live: Any, rebuilt: Any) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Database, "write", write_unheard)
            swap_to(live, rebuilt)

    monkeypatch.setattr(LiveTables, "swap_to", swap_unheard)
    with pytest.raises(Unavailable, match="before it answered"):
        bench.runner.rebuild(mode=RebuildMode.REPLACE, progress=unheard)
    assert bench.runner.status().generation == 2
    assert bench.rows() == dict.fromkeys(slugs, 1)
    bench.runner.wait_for(bench.meter("second"), WAIT_S)
    assert bench.rows() == dict.fromkeys((*slugs, "second"), 1)
