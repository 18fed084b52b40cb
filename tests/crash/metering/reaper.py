"""Ends a service again and again, at failpoints and at any moment; each time it is started again."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from services.kernel.clock import monotonic_s
from services.kernel.failpoint import Action
from tests.crash.metering.service_process import ServiceProcess

_INGEST_POINTS = (
    "index.before_spill",
    "index.before_commit",
    "append.after_commit",
    "index.after_spill",
    "index.before_merge",
    "index.after_merge",
    "append.before_commit",
    "index.after_commit",
    "append.after_answer",
    "append.before_write",
)
_AGGREGATOR_POINTS = (
    "archive.before_commit",
    "fold.before_commit",
    "archive.after_commit",
    "fold.after_commit",
    "swap.after_commit",
    "archive.after_file",
    "fold.before_checkpoint",
    "archive.after_delete",
    "swap.before_commit",
    "archive.before_file",
    "fold.before_write",
    "append.after_commit",
    "append.before_commit",
    "append.after_answer",
    "append.before_write",
)
POINTS = {"ingest": _INGEST_POINTS, "aggregator": _AGGREGATOR_POINTS}
"""Where each service is killed; in turns, beginning anywhere."""

PASSAGES_MAX = {
    "append": 60,
    "fold": 40,
    "index.before_commit": 60,
    "index.after_commit": 60,
    "archive": 8,
    "swap": 1,
}
"""At which passage at most it happens, by the point or its first word; elsewhere among the first four."""
PASSAGES_ELSEWHERE = 4

LIFE_S_MAX = 20.0
"""How long an armed service may take to reach its point; then it is killed wherever it is, and the point's turn comes
again."""
AT_ANY_MOMENT_CHANCE = 0.3
IN_FULL_LIFE_CHANCE = 0.7
MOMENT_S_MAX = 4.0
POLL_S = 0.02


class Reaper(threading.Thread):
    """Lets one service live many short lives, until told to stop; the last life is not over then.

    When `once`, it lets it live as soon as it was killed at each point.
    """

    def __init__(
        self, process: ServiceProcess, points: Sequence[str], seed: int, stop: threading.Event, *, once: bool = False
    ) -> None:
        super().__init__(name=f"reap {process.name}", daemon=True)
        self._process = process
        self._chance = random.Random(f"{seed}/{process.name}")
        self._stopping = stop
        start = self._chance.randrange(len(points))
        self._turn = [*points[start:], *points[:start]]
        self._points = points
        self._once = once
        self._tries: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    def is_content(self, kills: int) -> bool:
        """Whether it ended so many lives, or, when `once`, all that it will."""
        return not self.unreached() if self._once else self.faults.total() >= kills

    def unreached(self) -> list[str]:
        """The points at which it was never killed."""
        return [point for point in self._points if not self.faults[self._named(point)]]

    def run(self) -> None:
        """One life after the other; the one that it finds is over at once."""
        self._process.kill()
        while not self._stopping.is_set():
            if self._once and not self.unreached():
                self._process.start()
                return
            if not self._once and self._chance.random() < AT_ANY_MOMENT_CHANCE:
                self._live_until_any_moment()
            else:
                point = self._turn.pop(0)
                self._turn.append(point)
                self._live_until(point)  # at an earlier passage each time, so that it is reached on a busy machine, too

    def _live_until_any_moment(self) -> None:
        """A moment after its start, or after it was ready."""
        self._process.start()
        if self._chance.random() < IN_FULL_LIFE_CHANCE and not self._passes(LIFE_S_MAX, self._process.has_been_ready):
            return
        if self._passes(self._chance.uniform(0.0, MOMENT_S_MAX), self._process.has_ended):
            self._end(f"{self._process.service} killed at any moment")

    def _live_until(self, point: str) -> None:
        self._process.start(self._armed(point))
        if self._passes(LIFE_S_MAX, self._process.has_ended):
            is_reached = self._process.has_ended()
            self._end(self._named(point) if is_reached else f"{self._process.service} killed at any moment")

    def _passes(self, time_s: float, is_so: Callable[[], bool]) -> bool:
        """Wait so long, or until it is so; False when told to stop."""
        deadline_s = monotonic_s() + time_s
        while not is_so() and monotonic_s() < deadline_s:
            if self._stopping.wait(POLL_S):
                return False
        return True

    def _end(self, fault: str) -> None:
        self._process.kill()
        self.faults[fault] += 1

    def _armed(self, point: str) -> str:
        if "@" in point:
            name, _, passage = point.partition("@")
            return f"{name}={Action.KILL}@{passage}"
        most = PASSAGES_MAX.get(point, PASSAGES_MAX.get(point.partition(".")[0], PASSAGES_ELSEWHERE))
        self._tries[point] += 1
        return f"{point}={Action.KILL}@{self._chance.randrange(1, max(1, most // self._tries[point]) + 1)}"

    def _named(self, point: str) -> str:
        return f"{self._process.service} killed at {point}"
