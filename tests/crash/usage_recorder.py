"""A client that records usage through the whole of ingest: each batch again until it is answered, some once more."""

import random
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

from meterlog.ingest.v1.ingest_pb2 import UsageEvent
from services.kernel.clock import SystemClock
from services.kernel.timestamp import to_timestamp
from services.projection.projection import RebuildMode
from tests.crash.history_file import HistoryFile, Line, lines_of
from tests.crash.opening import PAUSE_S, TROUBLE, opened
from tests.crash.worker import Order
from tests.crash.worker_paths import history_path
from tests.ingest_room import NOON, Replica, open_room, words

BATCH = 5
SENT_AGAIN_CHANCE = 0.2
REBUILD_CHANCE = 0.05
PACE_S = 0.05


def record_usage(order: Order, history: HistoryFile, stop: threading.Event) -> None:
    """Record until told to stop; first what a former life was not answered for."""
    unanswered = unanswered_batches(list(lines_of(history_path(order))))
    store = opened(order, stop)
    if store is None:
        return
    replica = Replica(store, Path(order.folder) / f"{order.name}.index", SystemClock())
    replica.follower.start()
    with open_room(Path(order.folder), store) as room:
        producer = Producer(room, replica, order, history, stop)
        for batch in unanswered:
            producer.settle(batch)
        producer.run()
    replica.stop()
    store.close()


def unanswered_batches(lines: list[Line]) -> list[list[str]]:
    """Batches that were sent and not answered, in order."""
    answered = {tuple(line["ids"]) for line in lines if line["what"] == "recorded"}
    sent = [line["ids"] for line in lines if line["what"] == "usage"]
    return [ids for ids in sent if tuple(ids) not in answered]


class Producer:
    """Sends batches of usage events to one replica of ingest."""

    def __init__(self, room: Any, replica: Replica, order: Order, history: HistoryFile, stop: threading.Event) -> None:
        self.client = f"{order.name}/usage/{order.life}"
        self._room = room
        self._replica = replica
        self._history = history
        self._stop = stop
        self._chance = random.Random(f"{order.seed}/{self.client}")
        self._sent = 0

    def run(self) -> None:
        """New batches, one after the other; now and then one is sent once more, or the index is rebuilt."""
        while not self._stop.wait(PACE_S):
            self._sent += 1
            batch = [f"{self.client}/{self._sent}/{row}" for row in range(BATCH)]
            self.settle(batch)
            if self._chance.random() < SENT_AGAIN_CHANCE:
                self.settle(batch)
            if self._chance.random() < REBUILD_CHANCE:
                self._rebuild()

    def settle(self, batch: list[str]) -> None:
        """Send a batch until it is answered."""
        while not self._stop.is_set():
            self._history.write("usage", self.client, ids=batch)
            try:
                response = self._room.send(self._replica, *(usage_event(name) for name in batch))
            except TROUBLE:
                self._stop.wait(PAUSE_S)
                continue
            self._history.write("recorded", self.client, ids=batch, outcomes=words(response.results))
            return

    def _rebuild(self) -> None:
        try:
            compared = self._replica.follower.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=lambda _: None)
        except TROUBLE:
            return
        self._history.write("rebuilt", self.client, position=compared.position, is_equal=compared.is_equal)


def usage_event(name: str) -> UsageEvent:
    """The usage event of this id."""
    at = to_timestamp(NOON - timedelta(minutes=1))
    return UsageEvent(id=name, source="crash", type="call", subject="tenant", time=at, value="1")
