"""One service as a process under test: what `python -m services.<name>` is, with small bounds, and perhaps bugs.

    python -m tests.crash.metering.service_program <ingest|aggregator> [<bug> …]

Bounds are small so that every kind of step is soon taken. It ends when its standard input closes, so that it never
outlives who started it.
"""

import os
import runpy
import sys
import threading

LEASH_LOST_EXIT = 71

_STANDARD_INPUT = 0
_LEASH_BYTES = 1


def shrink_ingest() -> None:
    """The index spills after a handful of batches, and merges after a handful of runs."""
    from services.ingest import dedupe_index
    from services.ingest.index_limits import IndexLimits

    small = IndexLimits(spill_keys=300, spill_folds=12, merge_runs=3, runs_max=12)
    vars(dedupe_index)["IndexLimits"] = lambda: small


def shrink_aggregator() -> None:
    """The archive grows, merges and deletes all the time."""
    from services.aggregator.archive import compaction

    compaction.BY_AND_BY = compaction.Appetite(2, (150, 600))  # before anybody takes it for a default
    from services.aggregator.archive import archiver, housekeeping, taking, time_cut
    from services.aggregator.corrections import recounting

    archiver.LOOK_EVERY_S = 0.1
    archiver.ARCHIVE_ROWS = 150
    archiver.ARCHIVE_BATCHES = 8
    archiver.ARCHIVE_AGE_S = 1.0
    taking.POOL_ROWS_MAX = 120
    time_cut.FILES_MAX = 3
    housekeeping.REMOVED_GRACE_S = 2.0
    recounting.GATHERED_ROWS_MAX = 100


def main(service: str, *bugs: str) -> None:
    """Become the service."""
    threading.Thread(target=_keep_leash, daemon=True).start()
    {"ingest": shrink_ingest, "aggregator": shrink_aggregator}[service]()
    if bugs:
        from tests.crash.seeded_bugs import plant

        for bug in bugs:
            plant(bug)
    sys.argv = [service]
    runpy.run_module(f"services.{service}", run_name="__main__", alter_sys=True)


def _keep_leash() -> None:
    while os.read(_STANDARD_INPUT, _LEASH_BYTES):
        pass
    os._exit(LEASH_LOST_EXIT)


if __name__ == "__main__":
    main(*sys.argv[1:])
