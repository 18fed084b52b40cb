"""A thread that lasts: whatever goes wrong inside is logged, and it begins again."""

import threading
from collections.abc import Callable

import structlog

RESTART_PAUSE_S = 1.0

log = structlog.get_logger()


class LastingThread:
    """Runs `work` until it is stopped. `work` is given a signal, and returns soon after that is set."""

    def __init__(self, name: str, work: Callable[[threading.Event], None]) -> None:
        self._name = name
        self._work = work
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._problem = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Tell the work to end, and wait for it; safe when never started."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def problem(self) -> str:
        """Why the work ended the last time; empty once `well` was called since."""
        return self._problem

    def well(self) -> None:
        """The work says that it does what it should again."""
        self._problem = ""

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._work(self._stop)
            except Exception as error:
                self._problem = f"{self._name} stopped: {error}"
                log.error("worker stopped", worker=self._name, exc_info=error)
                self._stop.wait(RESTART_PAUSE_S)
