"""A commit whose answer was lost is found out, and folding goes on from where the tables really stand."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection

from services.kernel.errors import Unavailable
from services.projection.database import Database
from tests.databases import DATABASES
from tests.projection_room import WAIT_S, Bench


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
    def unheard(database: Database) -> Iterator[Connection]:
        with write(database) as connection:
            yield connection
        if not lost:
            lost.append("the answer")
            raise Unavailable("the server was gone before it answered")

    monkeypatch.setattr(Database, "write", unheard)
    bench.meter("second")
    bench.runner.wait_for(bench.meter("third"), WAIT_S)
    assert lost
    assert bench.rows() == {"first": 1, "second": 1, "third": 1}
    assert not bench.runner.problem()
