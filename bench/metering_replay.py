"""Replays a log into hour windows in a process of its own, and prints how long it took and how much memory.

    python bench/metering_replay.py <store url> <folder>

Prints one JSON object: the seconds until each tenth of the log's end was folded, and the peak of resident memory.
"""

import json
import resource
import sys
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto" / "gen")]

import structlog  # noqa: E402 (the path is set above)

from services.aggregator.usage_windows import UsageWindows  # noqa: E402 (the path is set above)
from services.eventstore.event import Position  # noqa: E402 (as above)
from services.eventstore.open import open_store  # noqa: E402 (as above)
from services.kernel.clock import SystemClock  # noqa: E402 (as above)
from services.projection.database import Database  # noqa: E402 (as above)
from services.projection.runner import ProjectionRunner  # noqa: E402 (as above)

PARTS = 20
REPLAY_TIMEOUT_S = 3_600.0


def main() -> None:
    """Fold the log from the first event to the last; what the runner logs goes to standard error."""
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(sys.stderr))
    store = open_store(sys.argv[1], SystemClock())
    database = Database.open(f"sqlite:///{sys.argv[2]}/replayed.db")
    windows = ProjectionRunner(store, database, UsageWindows(store))
    head = store.head().position
    started_s, reached_s = perf_counter(), []
    windows.start()
    for part in range(1, PARTS + 1):
        windows.wait_for(Position(head * part // PARTS), REPLAY_TIMEOUT_S)
        reached_s.append(perf_counter() - started_s)
    windows.stop(REPLAY_TIMEOUT_S)
    database.close()
    store.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"reached_s": reached_s, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
