"""News of other processes' commits come with notifications, and also without any."""

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from services.eventstore.event import ANY_VERSION, BEGINNING, Batch, CaughtUp, NewEvent, Position, StreamName
from services.eventstore.postgres import news as postgres_news
from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.connection import PostgresLimits
from services.eventstore.postgres.news import CommitNews
from services.eventstore.postgres.store import PostgresEventStore
from services.kernel.clock import SimulatedClock, monotonic_s
from tests.postgres_log import fresh_log

CLOCK = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))
METER = StreamName("meter", "tokens")
NEVER_S = 3_600.0
WAIT_S = 60.0


def append(store: PostgresEventStore) -> None:
    store.append(METER, [NewEvent(UUID(int=1), "Happened", 1, b"")], ANY_VERSION)


@pytest.fixture
def address() -> LogAddress:
    return fresh_log()


@pytest.fixture
def writer(address: LogAddress) -> Iterator[PostgresEventStore]:
    opened = PostgresEventStore(address, CLOCK)
    yield opened
    opened.close()


def followed(store: PostgresEventStore, seen: list[int], until: int) -> threading.Thread:
    """A thread that reads a subscription until `until` events have come."""

    def follow() -> None:
        for news in store.subscribe(after=BEGINNING, stop=threading.Event()):
            if isinstance(news, Batch):
                seen.extend(event.position for event in news.events)
            if len(seen) >= until:
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    return thread


def test_a_notification_wakes_a_follower_that_does_not_look(address: LogAddress, writer: PostgresEventStore) -> None:
    reader = PostgresEventStore(address, CLOCK, limits=PostgresLimits(poll_s=NEVER_S))
    following = reader.subscribe(after=BEGINNING, stop=threading.Event())
    assert next(following) == CaughtUp(BEGINNING)
    wait_for_listener(address)
    seen: list[int] = []
    thread = followed(reader, seen, until=3)
    for _ in range(3):
        append(writer)
    thread.join(WAIT_S)
    assert seen == [1, 2, 3]
    reader.close()


def test_a_follower_that_cannot_listen_finds_the_commits_by_looking(
    address: LogAddress, writer: PostgresEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CommitNews, "listen", lambda _news: None)
    reader = PostgresEventStore(address, CLOCK)
    seen: list[int] = []
    thread = followed(reader, seen, until=20)
    for _ in range(20):
        append(writer)
    thread.join(WAIT_S)
    assert seen == list(range(1, 21))
    reader.close()


def test_a_listener_whose_connection_is_lost_listens_again(
    address: LogAddress, writer: PostgresEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_news, "_PAUSE_MIN_S", 0.01)
    reader = PostgresEventStore(address, CLOCK, limits=PostgresLimits(poll_s=NEVER_S))
    seen: list[int] = []
    thread = followed(reader, seen, until=2)
    first = wait_for_listener(address)
    append(writer)
    with closing(psycopg.connect(**address.parameters, autocommit=True)) as superuser:
        superuser.execute("SELECT pg_terminate_backend(%s)", (first,))
    assert wait_for_listener(address, other_than=first) != first
    append(writer)
    thread.join(WAIT_S)
    assert seen == [1, 2]
    reader.close()


def wait_for_listener(address: LogAddress, other_than: int = 0) -> int:
    """The server's number of the session that listens to the log."""
    deadline_s = monotonic_s() + WAIT_S
    with closing(psycopg.connect(**address.parameters, autocommit=True)) as superuser:
        while monotonic_s() < deadline_s:
            row = superuser.execute(
                "SELECT pid FROM pg_stat_activity WHERE query = %s AND state = 'idle' AND pid <> %s",
                (f'LISTEN "{address.schema}"', other_than),
            ).fetchone()
            if row:
                return int(row[0])
    raise AssertionError("nobody listens")


def test_what_is_told_is_known_at_once_and_never_forgotten_for_an_older_answer(address: LogAddress) -> None:
    asked, answered = threading.Event(), threading.Event()

    def slowly() -> Position:
        asked.set()
        assert answered.wait(WAIT_S)
        return Position(3)

    news = CommitNews(address, PostgresLimits(poll_s=NEVER_S), slowly, lambda _pid: False, writes=True)
    looker = threading.Thread(target=news.bell.wait, args=(Position(4), threading.Event()), daemon=True)
    looker.start()
    assert asked.wait(WAIT_S)
    news.tell(Position(5))
    answered.set()
    looker.join(WAIT_S)
    assert not looker.is_alive()
    news.close()
