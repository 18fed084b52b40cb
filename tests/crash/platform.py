"""A process that does everything at once: appends, reads, folds and rebuilds a projection, records usage once."""

import threading

from tests.crash.history_file import HistoryFile
from tests.crash.opening import PAUSE_S
from tests.crash.projector import project
from tests.crash.reader import read
from tests.crash.usage_recorder import record_usage
from tests.crash.worker import Order
from tests.crash.writer import write

JOIN_TIMEOUT_S = 90.0


def do_everything(order: Order, history: HistoryFile, stop: threading.Event) -> None:
    """All roles in one process, each with a store of its own, until told to stop."""
    threads = [
        threading.Thread(target=role, args=(order, history, stop), daemon=True)
        for role in (write, read, project, record_usage)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive() and not stop.is_set():
            thread.join(PAUSE_S)
        thread.join(JOIN_TIMEOUT_S)
