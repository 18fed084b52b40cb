"""One process of one service: started on a leash, its lines handed on, its end put into words."""

import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

LINE_CHARACTERS_MAX: Final = 64 * 1024
LAST_WORDS_LINES: Final = 20
READER_TIMEOUT_S: Final = 2.0


class Child:
    """A running service. `read` gets every line of its output, in a thread of its own."""

    def __init__(
        self, service: str, environment: Mapping[str, str], lock_descriptor: int, read: Callable[[str], None]
    ) -> None:
        self._process = subprocess.Popen(  # noqa: S603 (runs this very interpreter on a service of SERVICES)
            [sys.executable, "-m", "services.cli.processes.leashed", service],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            pass_fds=(lock_descriptor,),
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._read = read
        self._last: deque[str] = deque(maxlen=LAST_WORDS_LINES)
        self._reader = threading.Thread(target=self._read_lines, name=f"log of {service}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process.poll() is None

    def terminate(self) -> None:
        """Ask it to drain and stop."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()

    def wait(self) -> str:
        """Wait for its end; returns how it ended, in words."""
        code = self._process.wait()
        self._reader.join(READER_TIMEOUT_S)
        self._close_pipes()
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def last_words(self) -> str:
        """The last line that is no JSON: the message of a service that refuses to start. Else the last line."""
        spoken = [line for line in self._last if line and not line.startswith("{")]
        return (spoken or list(self._last) or ["it said nothing"])[-1]

    def _read_lines(self) -> None:
        assert self._process.stdout is not None
        for line in iter(lambda: self._process.stdout.readline(LINE_CHARACTERS_MAX), ""):  # type: ignore[union-attr]  # asserted above
            text = line.rstrip("\n")
            self._last.append(text)
            self._read(text)

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not self._reader.is_alive():
                pipe.close()
