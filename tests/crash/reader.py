"""A process that reads: two subscriptions that go on across its lives, reads of the end, reads of streams."""

import random
import threading
from collections.abc import Sequence
from time import monotonic_ns

from services.eventstore.event import Batch, Position, StreamName
from services.eventstore.store import EventStore
from tests.crash.history_file import HistoryFile, read_history
from tests.crash.opening import PAUSE_S, TROUBLE, opened
from tests.crash.worker import Order
from tests.crash.worker_paths import history_path
from tests.crash.writer import SHARED_STREAMS

SUBSCRIPTIONS: dict[str, frozenset[str]] = {"all": frozenset(), "shared": frozenset({"shared"})}
READ_LIMIT = 40
PACE_S = 0.02
JOIN_TIMEOUT_S = 60.0


def read(order: Order, history: HistoryFile, stop: threading.Event) -> None:
    """Read until told to stop."""
    stands_at = {session.client: session.reached for session in read_history(history_path(order)).sessions}
    store = opened(order, stop)
    if store is None:
        return
    reader = Reader(order, store, history, stop)
    work = [(reader.follow, (f"{order.name}/{name}", stands_at, name)) for name in SUBSCRIPTIONS]
    threads = [threading.Thread(target=task, args=arguments, daemon=True) for task, arguments in work]
    threads.append(threading.Thread(target=reader.look, args=(f"{order.name}/look",), daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive() and not stop.is_set():
            thread.join(PAUSE_S)
        thread.join(JOIN_TIMEOUT_S)
    store.close()


class Reader:
    """What the threads of a reading process share."""

    def __init__(self, order: Order, store: EventStore, history: HistoryFile, stop: threading.Event) -> None:
        self._store = store
        self._history = history
        self._stop = stop
        self._chance = random.Random(f"{order.seed}/{order.name}/{order.life}")

    def follow(self, client: str, stands_at: dict[str, int], name: str) -> None:
        """Subscribe, and subscribe again wherever it broke, from where this client stands."""
        after = stands_at.get(client, 0)
        categories = SUBSCRIPTIONS[name]
        while not self._stop.is_set():
            self._history.write("subscribed", client, after=after, categories=sorted(categories))
            try:
                for news in self._store.subscribe(
                    after=Position(after),
                    categories=categories,
                    batch_max=self._chance.choice((1, 7, 1000)),
                    stop=self._stop,
                ):
                    events = [(event.position, event.id.hex) for event in _events(news)]
                    self._history.write("delivered", client, events=events, position=news.position)
                    after = news.position
            except TROUBLE:
                self._stop.wait(PAUSE_S)

    def look(self, client: str) -> None:
        """Read the end of the log and the beginnings of streams, over and over."""
        while not self._stop.wait(self._chance.random() * PACE_S):
            try:
                self._look(client)
            except TROUBLE:
                self._stop.wait(PAUSE_S)

    def _look(self, client: str) -> None:
        since = monotonic_ns()
        self._history.write("head", client, since=since, position=self._store.head().position)
        stream = StreamName("shared", str(self._chance.randrange(SHARED_STREAMS)))
        since = monotonic_ns()
        ids = [event.id.hex for event in self._store.read_stream(stream, limit=READ_LIMIT)]
        self._history.write("stream", client, since=since, stream=str(stream), limit=READ_LIMIT, ids=ids)


def _events(news: object) -> Sequence:  # type: ignore[type-arg]  # RecordedEvents, or none for CaughtUp
    return news.events if isinstance(news, Batch) else ()
