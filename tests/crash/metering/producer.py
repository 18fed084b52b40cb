"""A client that sends usage through all doors: each batch until it is answered, some again, some contradicted."""

import random
import threading
from dataclasses import replace

import grpc

from tests.crash.metering.calls import NoAnswer, once
from tests.crash.metering.chances import usage_event
from tests.crash.metering.doors import DOORS, Answer, Usage
from tests.crash.metering.ledger import Ledger, Told

BATCH_MAX = 24
PACE_S = 0.06
SENT_AGAIN_CHANCE = 0.25
CONTRADICTED_CHANCE = 0.1
KNOWN_MAX = 200
"""Batches of which one may be sent again."""


class Producer(threading.Thread):
    """Sends until told to stop; then what has no answer yet has none."""

    def __init__(
        self, name: str, addresses: tuple[str, ...], ledger: Ledger, seed: int, stop: threading.Event, pace_s: float
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._addresses = addresses
        self._ledger = ledger
        self._chance = random.Random(f"{seed}/{name}")
        self._stopping = stop
        self._pace_s = pace_s
        self._batches = 0
        self._known: list[Usage] = []

    def run(self) -> None:
        """New batches, old ones, and contradictions."""
        while not self._stopping.wait(self._chance.uniform(0, 2 * self._pace_s)):
            batch = self._new_batch()
            self._ledger.send(batch)
            if not self._settle(batch):
                return
            self._known = [*self._known[-KNOWN_MAX:], batch]
            if self._chance.random() < SENT_AGAIN_CHANCE:
                self._settle(self._chance.choice(self._known))
            if self._chance.random() < CONTRADICTED_CHANCE:
                self._contradict(self._chance.choice(self._known))

    def _new_batch(self) -> Usage:
        """Every batch has one source, so that it can be atomic."""
        self._batches += 1
        source = f"{self.name}-{self._chance.randrange(3)}"
        count = self._chance.randrange(1, BATCH_MAX)
        return [((source, f"{self._batches}-{row}"), usage_event(self._chance)) for row in range(count)]

    def _settle(self, batch: Usage) -> bool:
        """Send a batch until it is answered, through whatever doors; False when told to stop before."""
        while not self._stopping.is_set():
            answered = self._sent(batch)
            if answered is not None:
                outcomes, receipts = answered
                told = [Told(name, *outcome) for (name, _), outcome in zip(batch, outcomes, strict=True)]
                self._ledger.tell(told, receipts)
                return True
        return False

    def _contradict(self, batch: Usage) -> None:
        """One usage event of it with another value."""
        name, event = self._chance.choice(batch)
        answered = self._sent([(name, replace(event, value=event.value + 1))])
        if answered is not None:
            self._ledger.contradicted.append(Told(name, *answered[0][0]))

    def _sent(self, batch: Usage) -> Answer | None:
        door = self._chance.choice(sorted(DOORS))
        with grpc.insecure_channel(self._chance.choice(self._addresses)) as channel:
            try:
                return once(lambda: DOORS[door](channel, batch, ""), self._ledger, f"{self.name} through {door}")
            except NoAnswer:
                self._stopping.wait(self._pace_s)
                return None
