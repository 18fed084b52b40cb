"""Counts of earlier usage that stand still until a test lets them go on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from services.aggregator.waiting.counting_progress import Tally
from services.rpc.authorization import EVERYBODY
from services.rpc.interceptor import caller_of_call
from tests.aggregator_room import WAIT_S


class HeldCount:
    """Once armed, holds the fold each time that it has read one more batch of earlier usage, its transaction open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._is_held, self._go_on = threading.Event(), threading.Semaphore(0)
        self._is_armed = False
        looked_at = Tally.looked_at

        def hold(tally: Tally, usage_events: int) -> None:
            looked_at(tally, usage_events)
            if self._is_armed:
                self._is_held.set()
                assert self._go_on.acquire(timeout=WAIT_S)

        monkeypatch.setattr("services.aggregator.usage.usage_log.READ_EVENTS", 1)
        monkeypatch.setattr(Tally, "looked_at", hold)

    def arm(self) -> None:
        """Hold the next count."""
        self._is_held.clear()
        self._is_armed = True

    def wait(self) -> None:
        """Return when the count stands still."""
        assert self._is_held.wait(WAIT_S)

    def step(self) -> None:
        """Let the count go on to the next batch, and return when it stands still there."""
        self._is_held.clear()
        self._go_on.release()
        self.wait()

    def let_go(self) -> None:
        """Let the count go on to its end, and hold no other."""
        self._is_armed = False
        self._go_on.release()

    @contextmanager
    def during(self, call: Callable[[], Any]) -> Iterator["list[Any]"]:
        """While the count stands still that a call waits for; at the end it goes on, and the list holds its answer."""
        answers: list[Any] = []
        self.arm()

        def run() -> None:
            caller_of_call.set(EVERYBODY)
            answers.append(call())

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            self.wait()
            yield answers
        finally:
            self.let_go()
            thread.join(WAIT_S)
        assert len(answers) == 1, "the call failed"
