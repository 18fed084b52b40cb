"""What one replica does alone: the others wait, and who loses its session hears of it before the last step."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from services.kernel.errors import TimedOut, Unavailable
from services.projection.database_url import TablesAddress
from tests.projection_replicas_room import Replicas, end_sessions_that_fold
from tests.projection_room import WAIT_S


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Replicas]:
    opened = Replicas(tmp_path / "tables")
    yield opened
    opened.close()


@pytest.fixture
def administrator(bench: Replicas) -> Iterator[psycopg.Connection]:
    with psycopg.connect(TablesAddress.parse(bench.url, "tables").conninfo, autocommit=True) as connection:
        yield connection


def test_what_one_replica_does_alone_waits_for_the_others(bench: Replicas) -> None:
    first, second = bench.join(), bench.join()
    with first.database.alone("deciding", WAIT_S):
        with pytest.raises(TimedOut, match="another replica"), second.database.alone("deciding", 0.05):
            pytest.fail("both at once")
        with second.database.alone("something else", WAIT_S):
            pass
    with second.database.alone("deciding", WAIT_S):
        pass


def test_who_was_alone_and_was_cut_off_hears_of_it_before_the_last_step(
    bench: Replicas, administrator: psycopg.Connection
) -> None:
    first, second = bench.join(), bench.join()
    with first.database.alone("deciding", WAIT_S) as require_alone:
        require_alone()
        end_sessions_that_fold(administrator)
        with second.database.alone("deciding", WAIT_S), pytest.raises(Unavailable):
            require_alone()


def test_who_was_alone_and_is_cut_off_after_the_last_step_has_done_it(
    bench: Replicas, administrator: psycopg.Connection
) -> None:
    first = bench.join()
    with first.database.alone("deciding", WAIT_S) as require_alone:
        require_alone()
        end_sessions_that_fold(administrator)
    with first.database.alone("deciding", WAIT_S) as require_alone:
        require_alone()
