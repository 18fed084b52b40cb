"""Following a log on KurrentDB whatever happens on the way: each event once, in order, and no wait for ever."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from services.eventstore.event import ANY_VERSION, BEGINNING, NO_STREAM, Batch, CaughtUp, NewEvent, Position, StreamName
from services.eventstore.kurrentdb.limits import KurrentLimits
from services.eventstore.kurrentdb.session import Session
from services.eventstore.kurrentdb.store import KurrentEventStore
from services.kernel.clock import SimulatedClock, monotonic_s
from services.kernel.errors import Corrupt, RuleViolated, Unavailable
from tests.kurrentdb_server import Fault, KurrentServer

WAIT_S = 60.0
EVENTS = 60
QUICK = KurrentLimits(
    call_timeout_s=1.0,
    page_timeout_s=1.0,
    poll_timeout_s=0.5,
    pause_first_s=0.01,
    stall_s=0.2,
    silence_s=0.2,
    fill_s=0.1,
    poll_s=0.02,
)


@pytest.fixture
def server() -> Iterator[KurrentServer]:
    with KurrentServer() as started:
        yield started


@pytest.fixture
def store(server: KurrentServer) -> Iterator[KurrentEventStore]:
    opened = KurrentEventStore(server.url, SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC)), limits=QUICK)
    yield opened
    opened.close()


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    signal = threading.Event()
    yield signal
    signal.set()


def append(store: KurrentEventStore, count: int, category: str = "usage", payload: bytes = b"") -> Position:
    for n in range(count):
        answer = store.append(
            StreamName(category, str(n % 3)), [NewEvent(UUID(int=n), "Happened", 1, payload)], ANY_VERSION
        )
    return answer.position


def whole_log(store: KurrentEventStore) -> list[Position]:
    """Page by page: one ends where its time is over."""
    positions: list[Position] = []
    while True:
        page = store.read_all(after=positions[-1] if positions else BEGINNING)
        positions += [event.position for event in page.events]
        if page.is_last:
            return positions


class Follower:
    """A subscription that a thread reads, and what it got."""

    def __init__(self, store: KurrentEventStore, stop: threading.Event, *categories: str, batch_max: int = 7) -> None:
        self.seen: list[Position] = []
        self.caught_up = BEGINNING
        self.batches: list[int] = []
        self._news = store.subscribe(after=BEGINNING, categories=categories, batch_max=batch_max, stop=stop)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def until(self, position: Position) -> list[Position]:
        """What it got by the time it was told that there is nothing more up to `position`."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.caught_up >= position, WAIT_S)
        return self.seen

    def _follow(self) -> None:
        with suppress(Unavailable):  # the store is closed when its test is over
            for news in self._news:
                self._note(news)

    def _note(self, news: Batch | CaughtUp) -> None:
        with self._changed:
            if isinstance(news, Batch):
                self.seen += [event.position for event in news.events]
                self.batches.append(len(news.events))
            else:
                self.caught_up = news.position
            self._changed.notify_all()


@pytest.mark.parametrize(
    ("fault", "amount"),
    [
        (Fault.SUBSCRIPTION_CUT, 3),
        (Fault.CONSUMER_TOO_SLOW, 3),
        (Fault.SUBSCRIPTION_SILENT, 3),
        (Fault.READ_UNAVAILABLE, 1),
        (Fault.READ_CUT, 1),
        (Fault.READ_SILENT, 1),
    ],
)
def test_whatever_breaks_on_the_way_each_event_comes_once(
    server: KurrentServer, store: KurrentEventStore, stop: threading.Event, fault: Fault, amount: float
) -> None:
    append(store, EVENTS // 2)
    server.faults.arm(fault, times=4, amount=amount)
    server.faults.arm(Fault.SUBSCRIPTION_REPEATS, times=10, amount=5)
    follower = Follower(store, stop)
    last = append(store, EVENTS // 2)
    assert follower.until(last) == whole_log(store)
    assert server.faults.struck(fault) >= 1


def test_cuts_by_chance_leave_nothing_out_of_a_category(
    server: KurrentServer, store: KurrentEventStore, stop: threading.Event
) -> None:
    server.faults.rate(Fault.SUBSCRIPTION_CUT, 0.9, amount=2)
    server.faults.rate(Fault.SUBSCRIPTION_REPEATS, 0.5, amount=3)
    follower = Follower(store, stop, "usage")
    for _ in range(10):
        append(store, 3, "usage")
        last = append(store, 2, "meter")
    usage = [event.position for event in store.read_all(after=BEGINNING, categories=["usage"]).events]
    assert follower.until(last) == usage


def test_a_server_that_restarts_is_followed_on(
    server: KurrentServer, store: KurrentEventStore, stop: threading.Event
) -> None:
    append(store, 5)
    follower = Follower(store, stop)
    follower.until(whole_log(store)[-1])
    server.stop()
    server.start()
    last = append(store, 5)
    assert follower.until(last) == whole_log(store)


def test_an_idle_subscription_advances_over_events_of_others(store: KurrentEventStore, stop: threading.Event) -> None:
    follower = Follower(store, stop, "meter")
    last = append(store, 10, "usage")
    assert follower.until(last) == []


def test_a_slow_reader_holds_the_server_back_and_misses_nothing(server: KurrentServer, stop: threading.Event) -> None:
    narrow = replace(QUICK, feed_events_max=2)
    store = KurrentEventStore(server.url, SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC)), limits=narrow)
    append(store, EVENTS)
    seen: list[Position] = []
    for news in store.subscribe(after=BEGINNING, batch_max=1, stop=stop):
        threading.Event().wait(0.002)
        if isinstance(news, CaughtUp):
            break
        seen += [event.position for event in news.events]
    assert seen == whole_log(store)
    store.close()


def test_a_batch_ends_when_it_weighs_enough(
    store: KurrentEventStore, stop: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.eventstore.kurrentdb.feed_buffer.PAGE_BYTES_MAX", 25)
    last = append(store, 20, payload=bytes(10))
    follower = Follower(store, stop, batch_max=100)
    assert follower.until(last) == whole_log(store)
    assert max(follower.batches) == 3


def test_an_event_that_the_server_leaves_out_is_fetched(
    store: KurrentEventStore, stop: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = append(store, 12)
    leave_out(monkeypatch, whole_log(store)[4], times=1)
    assert Follower(store, stop, batch_max=1000).until(last) == whole_log(store)


def test_an_event_that_the_server_always_leaves_out_stops_the_reader(
    store: KurrentEventStore, stop: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(store, 12)
    leave_out(monkeypatch, whole_log(store)[4], times=1_000)
    with pytest.raises(Corrupt, match="rebuild the projection"):
        list(store.subscribe(after=BEGINNING, stop=stop))


def leave_out(monkeypatch: pytest.MonkeyPatch, position: Position, times: int) -> None:
    """Let subscriptions swallow the event at `position`, as servers before 24.10.5 could."""
    subscribe = Session.subscribe
    left = [times]

    class Forgetful:
        def __init__(self, pushed: Any) -> None:
            self.pushed = pushed

        def __enter__(self) -> "Forgetful":
            return self

        def __exit__(self, *_: object) -> None:
            self.pushed.stop()

        def __iter__(self) -> Iterator[Any]:
            for told in self.pushed:
                if told.commit_position == position and not told.is_checkpoint and left[0] > 0:
                    left[0] -= 1
                    continue
                yield told

        def stop(self, *, cancel: bool = False) -> None:
            self.pushed.stop(cancel=cancel)

    monkeypatch.setattr(Session, "subscribe", lambda *arguments: Forgetful(subscribe(*arguments)))


def test_a_position_that_the_log_does_not_have_is_refused(store: KurrentEventStore, stop: threading.Event) -> None:
    append(store, 5)
    between = Position(whole_log(store)[2] + 1)
    with pytest.raises(RuleViolated, match="rebuild"):
        list(store.subscribe(after=between, stop=stop))
    with pytest.raises(RuleViolated, match="rebuild"):
        store.read_all(after=between)
    assert store.leaf_at(between) == b""


def test_a_server_that_stays_away_is_reported(server: KurrentServer, stop: threading.Event) -> None:
    hasty = replace(QUICK, subscribe_attempts_max=2)
    store = KurrentEventStore(server.url, SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC)), limits=hasty)
    append(store, 1)
    following = store.subscribe(after=BEGINNING, stop=stop)
    assert isinstance(next(following), Batch)
    server.stop()
    with pytest.raises(Unavailable, match="METERLOG_STORE_URL"):
        list(following)
    store.close()


def test_closing_the_store_ends_its_subscriptions(store: KurrentEventStore, stop: threading.Event) -> None:
    following = store.subscribe(after=BEGINNING, stop=stop)
    assert next(following) == CaughtUp(BEGINNING)
    store.close()
    with pytest.raises(Unavailable, match="closed"):
        list(following)


def test_who_is_told_to_stop_while_the_server_hangs_stops(
    server: KurrentServer, store: KurrentEventStore, stop: threading.Event
) -> None:
    append(store, 3)
    server.faults.arm(Fault.READ_SILENT, times=100, amount=0)
    server.faults.arm(Fault.SUBSCRIPTION_SILENT, times=100, amount=0)
    following = store.subscribe(after=BEGINNING, stop=stop)
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    begun_s = monotonic_s()
    assert all(isinstance(news, Batch | CaughtUp) for news in following)
    assert monotonic_s() - begun_s < WAIT_S
    timer.join(WAIT_S)


def test_an_event_that_meterlog_did_not_write_stops_the_reader(
    server: KurrentServer, store: KurrentEventStore, stop: threading.Event
) -> None:
    from kurrentdbclient import KurrentDBClient, StreamState
    from kurrentdbclient import NewEvent as ForeignEvent

    store.append(StreamName("meter", "0"), [NewEvent(UUID(int=1), "Happened", 1, b"")], NO_STREAM)
    with KurrentDBClient(server.url) as foreign:
        foreign.append_to_stream(
            "orders-1", events=[ForeignEvent(type="Placed", data=b"{}")], current_version=StreamState.ANY
        )
    with pytest.raises(Corrupt, match="orders-1"):
        list(store.subscribe(after=BEGINNING, stop=stop))
    assert store.leaf_at(store.head().position) == b""
    with pytest.raises(Corrupt, match="a server of its own"):
        store.read_all(after=BEGINNING)
    assert len(store.read_all(after=BEGINNING, categories=["meter"]).events) == 1


def test_a_subscription_that_says_nothing_at_all_is_begun_again_and_called_what_it_is(
    server: KurrentServer, store: KurrentEventStore, stop: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    last = append(store, 3)
    server.faults.arm(Fault.SUBSCRIPTION_SILENT, amount=0)
    assert Follower(store, stop).until(last) == whole_log(store)
    assert "was told nothing for 0.2 s" in caplog.text
    assert "one stands in the log" not in caplog.text
