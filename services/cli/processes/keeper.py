"""Keeps one service running: starts it, watches it become healthy, starts it again when it dies, gives up in time."""

import threading
from collections.abc import Callable
from typing import Final

from services.cli.processes.child import Child
from services.kernel.clock import monotonic_s

FAILED_STARTS_MAX: Final = 3
BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 10.0
STEADY_S: Final = 30.0
"""A service that lived this long has recovered; its next restart is not held back."""

PROBE_PAUSE_S: Final = 0.05


class Keeper:
    """A thread for one service. `say` gets what a person should know, with a level.

    The thread starts each process itself and outlives it. A process that dies before it was ever healthy is a failed
    start; FAILED_STARTS_MAX of them in a row, and the keeper gives up: `failure` then says why.
    """

    def __init__(
        self,
        service: str,
        start_child: Callable[[], Child],
        is_serving: Callable[[], bool],
        say: Callable[[str, str], None],
    ) -> None:
        self.service = service
        self.failure = ""
        self.starts = 0
        self._start_child = start_child
        self._is_serving = is_serving
        self._say = say
        self._child: Child | None = None
        self._turn = threading.RLock()  # a signal may ask for a kill while this thread asks to stop
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"keep {service}", daemon=True)

    def start(self) -> None:
        """Begin to keep the service."""
        self._thread.start()

    def is_ready(self) -> bool:
        """Whether its process of now has been healthy."""
        return self._ready.is_set()

    def kill(self) -> None:
        """End its process at once; it is started again."""
        with self._turn:
            if self._child is not None:
                self._ready.clear()
                self._child.kill()

    def ask_to_stop(self) -> None:
        """Let its process drain, and start no other."""
        with self._turn:
            self._stopping.set()
            if self._child is not None:
                self._child.terminate()

    def join(self, timeout_s: float) -> bool:
        """Wait until its process is gone; whether it is."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        failed_starts = deaths = 0
        while (child := self._next_child()) is not None:
            started_s = monotonic_s()
            was_ready = self._attend(child)
            ending = child.wait()
            with self._turn:
                self._ready.clear()
                self._child = None
            if self._stopping.is_set():
                return
            failed_starts = 0 if was_ready else failed_starts + 1
            deaths = 1 if monotonic_s() - started_s > STEADY_S else deaths + 1
            if failed_starts == FAILED_STARTS_MAX:
                self.failure = f"{self.service} does not start ({ending}): {child.last_words()}"
                return
            self._pause(ending, deaths)

    def _next_child(self) -> Child | None:
        with self._turn:
            if self._stopping.is_set():
                return None
            try:
                self._child = self._start_child()
            except OSError as error:
                self.failure = f"{self.service} does not start: {error}"
                return None
            self.starts += 1
            return self._child

    def _attend(self, child: Child) -> bool:
        """Whether the process was healthy before it ended; returns then."""
        while child.is_running():
            if self._is_serving():
                self._ready.set()
                if self.starts > 1:
                    self._say("info", f"is healthy again, process {child.pid}")
                return True
            self._stopping.wait(PROBE_PAUSE_S)
        return False

    def _pause(self, ending: str, deaths: int) -> None:
        pause_s = pause_before_restart_s(deaths)
        self._say("warning", f"{ending}; starting it again in {pause_s:.1f} s")
        self._stopping.wait(pause_s)


def pause_before_restart_s(deaths: int) -> float:
    """Doubles with every death in a row, up to BACKOFF_MAX_S."""
    return min(BACKOFF_FIRST_S * 2.0 ** min(deaths - 1, 16), BACKOFF_MAX_S)
