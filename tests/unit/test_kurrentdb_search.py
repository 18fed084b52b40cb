"""While the leader is looked for, one thread searches; the others share the outcome, and none is held up for long."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from kurrentdbclient.exceptions import DiscoveryFailedError

from services.eventstore.event import BEGINNING
from services.eventstore.kurrentdb import connection as connecting
from services.eventstore.kurrentdb import feed as feeding
from services.eventstore.kurrentdb.address import address
from services.eventstore.kurrentdb.connection import KurrentConnection
from services.eventstore.kurrentdb.feed import Feed
from services.eventstore.kurrentdb.limits import KurrentLimits
from services.eventstore.kurrentdb.reads import KurrentReads
from services.eventstore.kurrentdb.session import Session
from services.kernel.clock import monotonic_s
from services.kernel.errors import Unavailable

WAIT_S = 60.0
ASKERS = 6


class Search:
    """Stands in for the client: a search for the leader that lasts until it is let go, and then fails or succeeds."""

    def __init__(self) -> None:
        self.count = 0
        self.is_closed = False
        self.fails = True
        self.begun = threading.Event()
        self.over = threading.Event()

    def __call__(self, *_: object) -> "Search":
        self.count += 1
        self.begun.set()
        assert self.over.wait(WAIT_S), "nobody ended the search"
        if self.fails:
            raise DiscoveryFailedError(f"search {self.count}")
        return self

    def close(self) -> None:
        self.is_closed = True


class Askers:
    """Threads that ask for the session, and what they were told."""

    def __init__(self, connection: KurrentConnection, count: int) -> None:
        self.told: list[Unavailable | Session] = []
        self._connection = connection
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        try:
            with self._connection.calling() as session:
                self.told.append(session)
        except Unavailable as error:
            self.told.append(error)

    def answers(self) -> list[Unavailable | Session]:
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        return self.told


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Iterator[Search]:
    search = Search()
    monkeypatch.setattr(connecting, "Session", search)
    yield search
    search.over.set()


def connection(call_timeout_s: float = WAIT_S) -> KurrentConnection:
    limits = KurrentLimits(call_timeout_s=call_timeout_s)
    return KurrentConnection(address("kurrentdb://one,two?Tls=false", read_only=False), limits)


def when_counted(count: int, then: Callable[[], None]) -> Callable[[], float]:
    """A clock that does something once so many have looked at it."""
    looks = iter(range(1, 1_000_000))

    def now_s() -> float:
        if next(looks) == count:
            then()
        return monotonic_s()

    return now_s


def test_who_waited_for_a_search_that_failed_does_not_search_again(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = connection()
    monkeypatch.setattr(connecting, "monotonic_s", when_counted(ASKERS, search.over.set))
    told = Askers(shared, ASKERS).answers()
    assert search.count == 1
    errors = [error for error in told if isinstance(error, Unavailable)]
    assert len({id(error) for error in errors}) == len(told) == ASKERS
    assert {error.reason for error in errors} == {"LOG_HAS_NO_LEADER"}
    assert len({error.message for error in errors}) == 1
    Askers(shared, 1).answers()
    assert search.count == 2, "who asks after the failure searches anew"


def test_nobody_waits_longer_for_a_search_than_for_a_call(search: Search) -> None:
    shared = connection(call_timeout_s=0.05)
    searching = Askers(shared, 1)
    assert search.begun.wait(WAIT_S)
    (error,) = Askers(shared, 1).answers()
    assert isinstance(error, Unavailable)
    assert (error.reason, "the search goes on" in error.message) == ("LOG_DOES_NOT_ANSWER", True)
    search.over.set()
    assert len(searching.answers()) == 1


def test_no_subscription_waits_long_for_the_look_of_another(search: Search) -> None:
    limits = KurrentLimits(call_timeout_s=WAIT_S, poll_timeout_s=0.05)
    reads = KurrentReads(KurrentConnection(connection().address, limits))

    def look() -> None:
        with suppress(Unavailable):
            reads.polled_head()

    first = threading.Thread(target=look, daemon=True)
    first.start()
    assert search.begun.wait(WAIT_S)
    second = threading.Thread(target=look, daemon=True)
    second.start()
    second.join(WAIT_S / 2)
    assert not second.is_alive()
    search.over.set()
    first.join(WAIT_S)
    assert not first.is_alive()


def test_a_store_closes_while_the_leader_is_looked_for(search: Search) -> None:
    shared = connection()
    search.fails = False
    searching = Askers(shared, 1)
    assert search.begun.wait(WAIT_S)
    closing = threading.Thread(target=shared.close, daemon=True)
    closing.start()
    closing.join(WAIT_S / 2)
    assert not closing.is_alive(), "closing waits for the search"
    search.over.set()
    (error,) = searching.answers()
    assert isinstance(error, Unavailable)
    assert (error.reason, search.is_closed) == ("EVENT_STORE_CLOSED", True)


def test_a_subscription_that_is_begun_again_gets_as_long_again_to_be_heard(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = [1_000.0]
    monkeypatch.setattr(feeding, "monotonic_s", lambda: now_s[0])
    feed = Feed(connection(), BEGINNING, ())
    now_s[0] += 31.0
    assert feed.is_silent(30.0)
    feed.restart("was told nothing for 30 s")
    assert not feed.is_silent(30.0)
    assert "a subscription was told nothing for 30 s; subscribing again" in caplog.text
