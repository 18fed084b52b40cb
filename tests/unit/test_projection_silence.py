"""Read models in PostgreSQL behind a network that goes silent, in another encoding, and after many rebuilds."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from services.projection import database_postgres
from services.projection.projection import RebuildMode
from tests.crash.proxy import FAIR, FaultyProxy, Weather
from tests.databases import POSTGRES
from tests.projection_room import WAIT_S, Bench, SlugProjection, unheard
from tests.unit.test_projection_blame import Wide

SILENT = Weather(is_mute_upwards=True, is_mute_downwards=True)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "tables.db", POSTGRES)
    yield made
    made.close()


@pytest.fixture
def proxy(bench: Bench) -> Iterator[FaultyProxy]:
    """Between the read models and their server."""
    folder = re.search(r"host=([^&]+)", bench.url)
    assert folder is not None
    made = FaultyProxy(f"{folder[1]}/.s.PGSQL.5432")
    bench.url = bench.url.replace("@/", f"@127.0.0.1:{made.port}/").replace(f"host={folder[1]}&", "")
    yield made
    made.close()


def test_a_connection_that_falls_silent_is_given_up_and_folding_goes_on_with_another(
    bench: Bench, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_postgres, "REPLY_TIMEOUT_S", 0.3)
    bench.restart(SlugProjection())
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    proxy.set_weather(SILENT)
    position = bench.meter("b")
    for _ in range(int(WAIT_S / 0.01)):
        if bench.runner.problem():
            break
        threading.Event().wait(0.01)
    assert "cannot be reached" in bench.runner.problem()
    assert not bench.runner.is_ready()
    proxy.set_weather(FAIR)
    bench.runner.wait_for(position, 2 * WAIT_S)
    assert bench.rows() == {"a": 1, "b": 1}


def test_a_silent_network_is_found_out_by_its_packets_and_a_reply_is_waited_for_longer_than_a_statement_runs(
    bench: Bench,
) -> None:
    with bench.database.write() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, database_postgres._Connection)
        known = driver.info.get_parameters()
        assert (known["keepalives_idle"], known["tcp_user_timeout"]) == ("10", "30000")
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "2min"
        assert driver.reply_timeout_s == database_postgres.REPLY_TIMEOUT_S > database_postgres.STATEMENT_TIMEOUT_S


def test_text_is_stored_whatever_encoding_the_url_or_the_environment_would_choose(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    bench.url += "&client_encoding=LATIN1"
    bench.restart(SlugProjection())
    bench.runner.start()
    bench.runner.wait_for(bench.renamed("a"), WAIT_S)
    with bench.database.write() as connection, bench.runner.read() as (_, tables):
        connection.execute(tables.slugs.insert().values(slug="日本𝔘", events=1))
    assert bench.rows() == {"日本𝔘": 1}


def test_rebuilds_leave_no_table_behind_in_the_session_that_they_were_copied_through(bench: Bench) -> None:
    bench.restart(Wide())
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    for _ in range(3):
        assert bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=unheard).is_swapped
    staging = text("SELECT relname FROM pg_class WHERE relpersistence = 't' AND relname LIKE 'staging%'")
    with bench.database.write() as connection:
        assert list(connection.execute(staging).scalars()) == ["staging_slugs__g4"]
