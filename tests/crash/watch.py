"""What a worker has done so far, followed while it writes."""

import json

from tests.crash.history import Outcome
from tests.crash.history_file import Line
from tests.crash.reader import SUBSCRIPTIONS
from tests.crash.worker_paths import history_path
from tests.crash.worker_process import WorkerProcess

_FOLLOWERS = {"writer": 0, "reader": len(SUBSCRIPTIONS), "projector": 1, "platform": len(SUBSCRIPTIONS) + 1}
"""How many subscriptions and projections a role keeps."""


class Watch:
    """Reads what was added to a worker's history since it last looked. The answers are as of the last `look`."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self._read_bytes = 0
        self._reached: dict[str, int] = {}
        self.last_ns = 0
        """The instant of the last line."""
        self.acknowledged = 0
        """How many appends were acknowledged."""
        self.acknowledged_ns = 0
        """The instant of the last append that was acknowledged."""
        self.acknowledged_position = 0
        self.recorded_ns = 0
        """The instant at which usage was last answered."""

    def look(self) -> "Watch":
        """Read on."""
        path = history_path(self._worker.order)
        if path.exists():
            with path.open("rb") as file:
                file.seek(self._read_bytes)
                whole, end, _ = file.read().rpartition(b"\n")
            self._read_bytes += len(whole) + len(end)
            for text in whole.splitlines():
                self._take(json.loads(text))
        return self

    def stands_at(self) -> int:
        """The lowest position that any of its subscriptions, or its projection, has reached; -1 until all told."""
        told_all = len(self._reached) >= _FOLLOWERS[self._worker.role]
        return min(self._reached.values(), default=-1) if told_all else -1

    def _take(self, line: Line) -> None:
        self.last_ns = line["ns"]
        match line["what"]:
            case "delivered" | "folded":
                self._reached[line["client"]] = line["position"]
            case "recorded":
                self.recorded_ns = line["ns"]
            case "ended" if line["outcome"] == Outcome.ACKNOWLEDGED:
                self.acknowledged += 1
                self.acknowledged_ns = line["ns"]
                self.acknowledged_position = max(self.acknowledged_position, line["answer"][0])
