"""The whole platform on one machine: its services as processes on loopback, kept running, stopped together."""

import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final

from services.cli.addresses import Running, remove_running, write_running
from services.cli.failure import CommandFailed
from services.cli.processes.child import Child
from services.cli.processes.environment import PlatformSettings, service_environment
from services.cli.processes.health import HealthProbe
from services.cli.processes.keeper import Keeper
from services.cli.processes.log_file import LogFile
from services.cli.processes.log_line import PLATFORM, LogLine, parse_log_line
from services.cli.processes.members import process_names, service_of
from services.cli.processes.ports import choose_addresses
from services.cli.processes.var_lock import VarLock
from services.kernel.clock import monotonic_s

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 20.0
KILL_TIMEOUT_S: Final = 5.0
POLL_S: Final = 0.05
LOGS_FOLDER: Final = "logs"


class Platform:
    """Owns the lock of its folder until it has stopped. `say` gets the combined log, from several threads.

    `addresses` has those of the services, and those of further aggregators by the names of their processes.
    """

    def __init__(self, settings: PlatformSettings, lock: VarLock, say: Callable[[LogLine], None]) -> None:
        self.settings = settings
        self.addresses: dict[str, str] = {}
        self._lock = lock
        self._say = say
        self._keepers: dict[str, Keeper] = {}
        self._resources: list[HealthProbe | LogFile] = []
        self._interrupted = threading.Event()
        self._is_stopped = False

    def __enter__(self) -> "Platform":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the services and wait until all are healthy, or `interrupt` was called.

        Raises CommandFailed when a port is in use (nothing is started then), or when a service does not start.
        """
        self.addresses = choose_addresses(self.settings.port_base, process_names(self.settings.aggregators))
        self._keepers = {process: self._keeper(process) for process in self.addresses}
        for keeper in self._keepers.values():
            keeper.start()
        self.wait_until_ready(START_TIMEOUT_S)
        write_running(self.settings.var, Running(os.getpid(), self.settings.store_url, self.addresses))

    def stop(self) -> None:
        """Drain and stop every service, end those that take too long, let go of the folder. Safe to repeat."""
        if self._is_stopped:
            return
        self._is_stopped = True
        remove_running(self.settings.var)
        for keeper in self._keepers.values():
            keeper.ask_to_stop()
        if not self._join(STOP_TIMEOUT_S):
            self.kill_all()
            self._join(KILL_TIMEOUT_S)
        for resource in self._resources:
            resource.close()
        self._lock.release()

    def interrupt(self) -> None:
        """Make `start` and `wait` return soon. May be called from a signal handler."""
        self._interrupted.set()

    def is_interrupted(self) -> bool:
        """Whether `interrupt` was called."""
        return self._interrupted.is_set()

    def wait(self) -> None:
        """Return when interrupted; raises CommandFailed when a service cannot be kept running."""
        while not self._interrupted.wait(POLL_S):
            self._require_no_failure()

    def wait_until_ready(self, timeout_s: float) -> None:
        """Return when every service is healthy, or when interrupted; raises CommandFailed."""
        deadline = monotonic_s() + timeout_s
        while not self._interrupted.is_set():
            self._require_no_failure()
            waited_for = [keeper.service for keeper in self._keepers.values() if not keeper.is_ready()]
            if not waited_for:
                return
            if monotonic_s() > deadline:
                raise CommandFailed(
                    f"not healthy after {timeout_s:.0f} s: {', '.join(waited_for)}; "
                    f"look into {self.settings.var / LOGS_FOLDER}",
                    reason="NOT_HEALTHY",
                )
            self._interrupted.wait(POLL_S)

    def kill(self, process: str) -> None:
        """End one process at once, as a crash would; it is started again."""
        self._keepers[process].kill()

    def kill_all(self) -> None:
        """End every process at once."""
        for keeper in self._keepers.values():
            keeper.kill()

    def starts(self, process: str) -> int:
        """How often it was started."""
        return self._keepers[process].starts

    def _keeper(self, process: str) -> Keeper:
        log_file = LogFile(self.settings.var / LOGS_FOLDER / f"{process}.log")
        probe = HealthProbe(self.addresses[process])
        self._resources += [probe, log_file]
        environment = service_environment(self.settings, process, self.addresses, sys.path)

        def read(line: str) -> None:
            log_file.write(line)
            self._say(parse_log_line(process, line))

        def start_child() -> Child:
            return Child(service_of(process), environment, self._lock.descriptor, read)

        def say(level: str, text: str) -> None:
            self._say(LogLine(PLATFORM, f"{process} {text}", level))

        return Keeper(process, start_child, probe.is_serving, say)

    def _require_no_failure(self) -> None:
        for keeper in self._keepers.values():
            if keeper.failure:
                raise CommandFailed(keeper.failure, reason="SERVICE_DOES_NOT_START")

    def _join(self, timeout_s: float) -> bool:
        deadline = monotonic_s() + timeout_s
        return all(keeper.join(max(0.0, deadline - monotonic_s())) for keeper in self._keepers.values())
