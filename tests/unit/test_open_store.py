"""A URL opens its store, and the log's settings are whoever's came first."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meterlog.events.v1.log_pb2 import ClockAdvanced
from services.eventstore.catalogue import encode
from services.eventstore.event import BEGINNING, NO_STREAM
from services.eventstore.log_settings import LOG_SETTINGS_STREAM, LogSettings, log_settings
from services.eventstore.memory import MemoryEventStore
from services.eventstore.open import open_store
from services.eventstore.sqlite.store import SqliteEventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Corrupt, InvalidInput, NotFound, RuleViolated

CLOCK = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))


def test_three_slashes_and_a_path_are_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_store("sqlite:///var/log.db", CLOCK).close()
    assert (tmp_path / "var" / "log.db").is_file()


def test_four_slashes_are_absolute(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/log.db", CLOCK)
    assert store.head().position == BEGINNING
    store.close()
    assert (tmp_path / "log.db").is_file()


def test_memory_has_no_path() -> None:
    assert isinstance(open_store("memory://", CLOCK), MemoryEventStore)
    with pytest.raises(InvalidInput):
        open_store("memory://log", CLOCK)


def test_reading_only_creates_nothing_and_appends_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    with pytest.raises(NotFound):
        open_store(url, CLOCK, read_only=True)
    assert list(tmp_path.iterdir()) == []
    open_store(url, CLOCK).close()
    store = open_store(url, CLOCK, read_only=True)
    with pytest.raises(RuleViolated):
        log_settings(store, CLOCK, 1)
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "log.db",
        "mysql://host/log",
        "sqlite://log.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///var/",
        "sqlite:///log.db?mode=ro",
    ],
)
def test_a_url_that_names_no_store_is_refused_with_those_that_do(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"use one of memory://, sqlite://|write sqlite:///relative"):
        open_store(url, CLOCK)


def test_the_first_settings_of_a_log_hold_for_ever() -> None:
    store = MemoryEventStore(CLOCK)
    assert log_settings(store, CLOCK, 16) == LogSettings(16)
    assert log_settings(store, CLOCK, 1) == LogSettings(16)
    assert store.head().position == 1


def test_services_that_start_at_once_agree_on_the_settings(tmp_path: Path) -> None:
    def start(usage_partitions: int) -> LogSettings:
        store = SqliteEventStore(tmp_path / "log.db", CLOCK)
        settings = log_settings(store, CLOCK, usage_partitions)
        store.close()
        return settings

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(start, range(1, 7)))) == 1


@pytest.mark.parametrize("usage_partitions", [0, -1, 1025])
def test_a_number_of_partitions_that_makes_no_sense_is_refused(usage_partitions: int) -> None:
    with pytest.raises(InvalidInput):
        log_settings(MemoryEventStore(CLOCK), CLOCK, usage_partitions)


def test_a_settings_stream_that_begins_with_something_else_is_not_guessed_at() -> None:
    store = MemoryEventStore(CLOCK)
    store.append(LOG_SETTINGS_STREAM, [encode(ClockAdvanced(), LOG_SETTINGS_STREAM, 0, CLOCK.now())], NO_STREAM)
    with pytest.raises(Corrupt):
        log_settings(store, CLOCK, 1)
