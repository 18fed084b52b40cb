"""A worker as its supervisor sees it: started, killed, paused, started again, told to end."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from services.kernel.clock import monotonic_s
from tests.crash.history import History
from tests.crash.history_file import Line, lines_of, read_history
from tests.crash.law import Law, Violation
from tests.crash.worker import Order
from tests.crash.worker_paths import complaints_path, history_path

ROOT = Path(__file__).resolve().parent.parent.parent
KILLED = -signal.SIGKILL
TOLD_TO_END = -signal.SIGTERM
"""How a process ends that was told to before it could listen."""

STOP_TIMEOUT_S = 60.0
MOMENT_S = 0.02
COMPLAINT_CHARACTERS = 1_500
REFUSED_TO_END = 999
UNFORESEEN = "in an unforeseen way"
"""What the product says in its log of an error that nobody thought of."""


class WorkerProcess:
    """One worker over all its lives. `ends` holds how each life ended that was not ended by `kill`."""

    def __init__(
        self, role: str, order: Order, *, prefix: Sequence[str] = (), settings: Mapping[str, str] = {}
    ) -> None:
        self.role = role
        self.order = replace(order, life=0)
        self.prefix = list(prefix)
        self.settings = dict(settings)
        self._process: subprocess.Popen[bytes] | None = None
        self.ends: list[int] = []
        self.kills = 0

    def start(self) -> None:
        """Begin the next life."""
        self.order = replace(self.order, life=self.order.life + 1)
        command = [*self.prefix, sys.executable, "-m", "tests.crash.worker", self.role, self.order.text()]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | self.settings
        with complaints_path(self.order).open("ab") as complaints:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=complaints, stderr=complaints
            )

    def rest(self) -> None:
        """Let it work for a moment; returns at once when it ends."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(MOMENT_S)

    def has_ended(self) -> bool:
        """Whether it ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def kill(self) -> None:
        """End it as by SIGKILL, wherever it is."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.kill()
            self.kills += 1
            process.wait(STOP_TIMEOUT_S)
        else:
            self.ends.append(process.returncode)
        self._let_go()

    def pause(self) -> None:
        """Stop it in its tracks, with whatever it holds."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Tell it to end in order, and wait."""
        if self._process is not None:
            self._signal(signal.SIGCONT)
            self._signal(signal.SIGTERM)
            self.wait(STOP_TIMEOUT_S)

    def wait(self, timeout_s: float) -> int:
        """Wait for its end; REFUSED_TO_END when that takes too long, and it is killed then."""
        process = self._process
        assert process is not None, "it was started"
        deadline_s = monotonic_s() + timeout_s
        try:
            end = process.wait(max(0.0, deadline_s - monotonic_s()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
            end = REFUSED_TO_END
        self.ends.append(end)
        self._let_go()
        return end

    def lines(self) -> list[Line]:
        """What it wrote so far."""
        return list(lines_of(history_path(self.order)))

    def history(self) -> History:
        """What it did, over all lives."""
        return read_history(history_path(self.order))

    def violations(self, forgiven: Sequence[int] = ()) -> list[Violation]:
        """Ends that nobody asked for, with the last it said; `forgiven` are expected ones."""
        path = complaints_path(self.order)
        said = path.read_text(errors="replace") if path.exists() else ""
        found = [
            Violation(Law.FORESEEN, f"{self.order.name} ended with {end}: {said[-COMPLAINT_CHARACTERS:]}")
            for end in self.ends
            if end not in (0, TOLD_TO_END, *forgiven)
        ]
        if UNFORESEEN in said:
            found.append(Violation(Law.FORESEEN, f"{self.order.name} said {_around(UNFORESEEN, said)}"))
        return found

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _let_go(self) -> None:
        """Closing its input ends what is left of it, such as a program that strace left behind."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None


def _around(phrase: str, text: str) -> str:
    start = text.index(phrase)
    return text[max(0, start - 100) : start + COMPLAINT_CHARACTERS]
