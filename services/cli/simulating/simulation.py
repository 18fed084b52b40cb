"""A simulation: a load sent through a door at a pace, and what came of it."""

from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from services.cli.simulating.doors import ROWS_PER_CALL, Called, Door, Doors
from services.cli.simulating.load import Load, load_batches
from services.kernel.clock import monotonic_s

ANSWER_WAIT_S: Final = 120.0
_MILLISECONDS: Final = 1_000
_PERCENTILES: Final = (50, 95, 99, 100)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast (usage events a second), how long (seconds; 0 each: no limit), and how many calls at once."""

    per_second: int = 0
    seconds: int = 0
    in_flight: int = 4
    rows_per_call: int = 0


@dataclass(slots=True)
class Tally:
    """What was answered so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    latencies_s: "array[float]" = field(default_factory=lambda: array("d"))
    seconds: float = 0.0

    @property
    def events(self) -> int:
        """How many usage events were answered."""
        return self.outcomes.total()

    def add(self, called: Called) -> None:
        """Count one call."""
        latency_s, outcomes = called
        self.latencies_s.append(latency_s)
        self.outcomes.update(outcomes)

    def document(self) -> dict[str, Any]:
        """The tally as JSON values; latencies are those of calls, in milliseconds."""
        return {
            "usage_events": self.events,
            "seconds": round(self.seconds, 3),
            "usage_events_per_second": round(self.events / self.seconds) if self.seconds else 0,
            "calls": len(self.latencies_s),
            "latency_ms": {
                f"p{percent}" if percent < 100 else "max": round(self.latency_s(percent) * _MILLISECONDS, 2)
                for percent in _PERCENTILES
            },
            "outcomes": {name: self.outcomes[name] for name in ("recorded", "duplicate", "conflict", "invalid")},
        }

    def latency_s(self, percent: int) -> float:
        """The percentile of the calls' latencies by nearest rank; 0 without calls."""
        ordered = sorted(self.latencies_s)
        return ordered[-(-percent * len(ordered) // 100) - 1] if ordered else 0.0


def simulate(load: Load, door: Door, pace: Pace, doors: Doors, on_progress: Callable[[Tally], None]) -> Tally:
    """Send the load and count the answers; raises CommandFailed when usage is not accepted."""
    tally = Tally()
    started_at_s = monotonic_s()
    batches = _paced(load_batches(load, pace.rows_per_call or ROWS_PER_CALL[door]), pace, started_at_s, doors)
    called = doors.stream(batches, pace.in_flight) if door is Door.STREAM else _concurrently(batches, door, pace, doors)
    for each in called:
        tally.add(each)
        tally.seconds = monotonic_s() - started_at_s
        on_progress(tally)
    return tally


def _paced(
    batches: Iterator[pa.RecordBatch], pace: Pace, started_at_s: float, doors: Doors
) -> Iterator[pa.RecordBatch]:
    """The batches, each no earlier than its turn, until the time is over."""
    rows = 0
    for batch in batches:
        if pace.per_second:
            doors.stopping.wait(max(0.0, started_at_s + rows / pace.per_second - monotonic_s()))
        if pace.seconds and monotonic_s() - started_at_s >= pace.seconds:
            return
        rows += batch.num_rows
        yield batch


def _concurrently(batches: Iterator[pa.RecordBatch], door: Door, pace: Pace, doors: Doors) -> Iterator[Called]:
    """What became of each batch, in order; `in_flight` calls at once."""
    call = doors.call(door)
    waiting: deque[Future[Called]] = deque()
    with ThreadPoolExecutor(pace.in_flight, thread_name_prefix="meterlog-simulate") as pool:
        try:
            for batch in batches:
                waiting.append(pool.submit(call, batch))
                if len(waiting) > pace.in_flight:
                    yield waiting.popleft().result(ANSWER_WAIT_S)
            while waiting:
                yield waiting.popleft().result(ANSWER_WAIT_S)
        finally:
            doors.stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
