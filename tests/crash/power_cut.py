"""Power cuts: a writer's calls are recorded once, then replayed up to random moments onto a disk that loses."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from services.eventstore.sqlite.store import SqliteEventStore
from services.kernel.clock import SystemClock
from tests.crash.checker import violations
from tests.crash.disk_trace import DiskCall, disk_calls, trace_prefix
from tests.crash.history import History, Outcome
from tests.crash.history_file import history_of
from tests.crash.inspection import read_log, unverified
from tests.crash.law import Violation
from tests.crash.lossy_disk import LossyDisk
from tests.crash.trial import Trial
from tests.crash.worker import Order
from tests.crash.worker_paths import history_path
from tests.crash.worker_process import WorkerProcess

APPENDS = 40
WAL_BYTES_MAX = 60_000
LIFE_TIMEOUT_S = 120.0


def cut_off(folder: Path, seed: int, cuts: int, bug: str = "") -> Trial:
    """So many cuts at random moments of one writer's life; what is found after each must keep every law."""
    chance = random.Random(f"{seed}/power")
    worker, log = _recorded(folder, seed, bug)
    calls = list(disk_calls(folder / "trace"))
    moments = sorted(chance.sample(range(len(calls)), min(cuts, len(calls))))
    found = list(worker.violations())
    last, events = History(), 0
    disk, lines = LossyDisk(), bytearray()
    for number, call in enumerate(calls):
        if moments and number == moments[0]:
            moments.pop(0)
            last = history_of([json.loads(line) for line in lines.split(b"\n")[:-1]])
            events, broken = _checked(folder / "found", log, disk.after_cut(chance), last)
            found += broken
        if found:
            break
        _take(call, log, disk, lines)
    return Trial(
        what=f"power cut at {cuts} moments" + (f", bug {bug}" if bug else ""),
        backend="sqlite",
        seed=seed,
        histories=cuts - len(moments),
        faults=Counter({"power cut": cuts - len(moments)}),
        operations=last.operations,
        acknowledged=sum(attempt.outcome is Outcome.ACKNOWLEDGED for attempt in last.attempts),
        events=events,
        violations=tuple(found),
    )


def _recorded(folder: Path, seed: int, bug: str) -> tuple[WorkerProcess, Path]:
    log = folder / "log.db"
    order = Order(f"sqlite:///{log}", "writer", str(folder), seed, 0, APPENDS, WAL_BYTES_MAX, bug=bug)
    paths = [str(log), f"{log}-wal", str(history_path(order))]
    worker = WorkerProcess("writer", order, prefix=trace_prefix(folder / "trace", paths))
    worker.start()
    worker.wait(LIFE_TIMEOUT_S)
    return worker, log


def _take(call: DiskCall, log: Path, disk: LossyDisk, lines: bytearray) -> None:
    """What a client heard is told by its history, which is written when the answer is there."""
    if call.path.startswith(str(log)):
        disk.take(call)
    elif call.name == "write":
        lines += call.content


def _checked(found_in: Path, log: Path, files: dict[str, bytes], history: History) -> tuple[int, Sequence[Violation]]:
    """Put the files in place, open the log as after a restart, and check what it holds."""
    shutil.rmtree(found_in, ignore_errors=True)
    found_in.mkdir()
    for path, content in files.items():
        (found_in / Path(path).name).write_bytes(content)
    store = SqliteEventStore(found_in / log.name, SystemClock())
    try:
        events = read_log(store)
        broken = violations(history, events, counts_positions=True) + unverified(store)
    finally:
        store.close()
    return len(events), broken
