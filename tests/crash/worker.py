"""One client process of a log under test; run as a program until it is told to stop, or is killed.

    python -m tests.crash.worker ROLE '<order as JSON>'

It writes its history to a file, ends in order on SIGTERM, and at once when its standard input closes, so that it never
outlives who started it. Whatever it did not foresee ends it with UNFORESEEN_EXIT and a traceback.
"""

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass

from tests.crash.history_file import HistoryFile
from tests.crash.worker_paths import history_path

UNFORESEEN_EXIT = 70
LEASH_LOST_EXIT = 71

_STANDARD_INPUT = 0
_LEASH_BYTES = 1


@dataclass(frozen=True, slots=True)
class Order:
    """What a process is asked to do. `life` counts its starts; `appends` bounds each of a writer's threads,
    which wait up to `pace_s` between two."""

    url: str
    name: str
    folder: str
    seed: int
    life: int = 1
    appends: int = 1_000_000_000
    wal_bytes_max: int = 200_000
    lock_timeout_s: float = 3.0
    pace_s: float = 0.004
    rebuild_chance: float = 0.03
    bug: str = ""

    def text(self) -> str:
        """As an argument of the program."""
        return json.dumps(asdict(self))


Role = Callable[[Order, HistoryFile, threading.Event], None]


def main(role: str, text: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    threading.excepthook = lambda unforeseen: _end(unforeseen.exc_value)
    threading.Thread(target=_keep_leash, daemon=True).start()
    order = Order(**json.loads(text))
    try:
        if order.bug:
            _plant(order.bug)
        _role(role)(order, HistoryFile(history_path(order)), stop)
    except BaseException as error:
        _end(error)
        raise


def _plant(bug: str) -> None:
    from tests.crash.seeded_bugs import plant

    plant(bug)


def _role(name: str) -> Role:
    """Imported when it is asked for: a process that is started often starts quickly."""
    match name:
        case "writer":
            from tests.crash.writer import write

            return write
        case "reader":
            from tests.crash.reader import read

            return read
        case "projector":
            from tests.crash.projector import project

            return project
        case _:
            from tests.crash.platform import do_everything

            return do_everything


def _end(error: BaseException | None) -> None:
    traceback.print_exception(error)
    sys.stderr.flush()
    os._exit(UNFORESEEN_EXIT)


def _keep_leash() -> None:
    while os.read(_STANDARD_INPUT, _LEASH_BYTES):
        pass
    os._exit(LEASH_LOST_EXIT)


if __name__ == "__main__":
    main(*sys.argv[1:])
