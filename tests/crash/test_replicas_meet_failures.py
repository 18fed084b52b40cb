"""What networks and servers do to replicas that share their tables: whatever it is, each event is folded once."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs

from services.eventstore.event import Position
from services.kernel.errors import DomainError, Unavailable
from services.projection import database_postgres
from services.projection.database import Database
from services.projection.database_url import TablesAddress
from services.projection.owner_lock import Follows
from tests.crash.proxy import FaultyProxy, Weather
from tests.own_postgres import OwnPostgres
from tests.projection_replicas_room import Replica, Replicas, eventually
from tests.projection_room import WAIT_S

CUT = Weather(is_closed=True, is_mute_upwards=True, is_mute_downwards=True)
REPLICAS = 5
CONNECTIONS = 200
"""More than a server gives away."""


@pytest.fixture(autouse=True)
def _said() -> Iterator[None]:
    """Workers say much of what fails here; to lay it out in colours takes longer than the failures."""
    with capture_logs():
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[OwnPostgres]:
    started = OwnPostgres()
    yield started
    started.close()


@pytest.fixture
def proxy(server: OwnPostgres) -> Iterator[FaultyProxy]:
    opened = FaultyProxy(str(server.folder / ".s.PGSQL.5432"))
    yield opened
    opened.close()


@pytest.fixture
def bench(server: OwnPostgres, tmp_path: Path) -> Iterator[Replicas]:
    opened = Replicas(tmp_path / "tables", server.fresh_log_url())
    yield opened
    opened.close()


def through(proxy: FaultyProxy, bench: Replicas) -> str:
    """The same tables, by another way."""
    schema = bench.url.rpartition("schema=")[2]
    return f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres?schema={schema}"


def require_folded_once(bench: Replicas, last: Position, rows: dict[str, int]) -> None:
    """All come to the end of the log, and say the same."""
    for member in bench.members:
        eventually(partial(is_ready_at, member, last))
        assert member.rows() == rows
    bench.one_leads()


def is_ready_at(member: Replica, position: Position) -> bool:
    return member.runner.is_ready() and member.runner.position() >= position


def has_trouble(member: Replica) -> bool:
    return not member.runner.is_ready() and bool(member.runner.problem())


def test_one_that_leads_and_is_cut_off_from_the_tables_is_replaced_and_follows_when_it_is_back(
    bench: Replicas, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(database_postgres._LEADING, "idle_session_timeout", "3s")
    bench.meter("a")
    first = bench.join(url=through(proxy, bench))
    first.runner.wait_for(bench.store.head().position, WAIT_S)
    second = bench.join()
    assert bench.one_leads() is first
    proxy.set_weather(CUT)
    last = bench.archive("a")
    second.runner.wait_for(last, WAIT_S)
    assert second.rows() == {"a": 2}
    proxy.clear_up()
    require_folded_once(bench, last, {"a": 2})
    assert bench.one_leads() is second


def test_one_that_stands_still_is_replaced_and_writes_no_more(bench: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(database_postgres._LEADING, "idle_session_timeout", "1s")
    frozen, other = (Database.open(bench.url, is_shared=True) for _ in range(2))
    assert frozen.leads()
    assert not other.leads()
    eventually(other.leads)
    assert frozen.is_leading, "it has not noticed yet"
    with pytest.raises(Follows), frozen.write():
        pytest.fail("two write")
    assert not frozen.is_leading
    for each in (frozen, other):
        each.close()


def test_replicas_go_on_when_their_server_has_crashed_and_is_back(bench: Replicas, server: OwnPostgres) -> None:
    for _ in range(3):
        bench.join()
    first = bench.meter("a")
    for member in bench.members:
        member.runner.wait_for(first, WAIT_S)
    server.stop_at_once()
    last = bench.archive("a")
    for member in bench.members:
        with pytest.raises(Unavailable):
            member.rows()
        eventually(partial(has_trouble, member))
    server.start()
    require_folded_once(bench, last, {"a": 2})


def test_replicas_that_start_at_the_same_moment_on_an_empty_server_fold_once(bench: Replicas) -> None:
    bench.meter("a")
    last = bench.archive("a")
    barrier = threading.Barrier(REPLICAS)

    def join() -> None:
        barrier.wait(WAIT_S)
        bench.join()

    threads = [threading.Thread(target=join, daemon=True) for _ in range(REPLICAS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(bench.members) == REPLICAS
    require_folded_once(bench, last, {"a": 2})


def test_tables_that_somebody_drops_under_the_replicas_are_no_answer_and_folded_anew_after_a_restart(
    bench: Replicas, server: OwnPostgres
) -> None:
    bench.join()
    bench.join()
    bench.meter("a")
    for member in bench.members:
        member.runner.wait_for(bench.store.head().position, WAIT_S)
    with server.superuser() as superuser:
        superuser.execute(f'DROP SCHEMA "{TablesAddress.parse(bench.url, "tables").schema}" CASCADE'.encode())
    last = bench.archive("a")
    for member in bench.members:
        eventually(partial(has_trouble, member))
        with pytest.raises(DomainError):
            member.rows()
    for member in tuple(bench.members):
        bench.end(member)
        bench.join()
    require_folded_once(bench, last, {"a": 2})


def test_when_the_server_has_no_connection_left_replicas_say_so_and_go_on_later(
    bench: Replicas, server: OwnPostgres
) -> None:
    bench.join()
    first = bench.meter("a")
    bench.members[0].runner.wait_for(first, WAIT_S)
    with ExitStack() as taken:
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            take_all(server, taken)
        with pytest.raises(Unavailable, match="no connection left"):
            Replica(bench.store, bench.url)
        second = bench.archive("a")
        bench.members[0].runner.wait_for(second, WAIT_S)
        assert bench.members[0].rows() == {"a": 2}, "who has its connections works on"
    bench.join()
    require_folded_once(bench, second, {"a": 2})


def take_all(server: OwnPostgres, taken: ExitStack) -> None:
    for _ in range(CONNECTIONS):
        taken.enter_context(server.superuser())
