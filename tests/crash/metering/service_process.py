"""A service as its supervisor sees it: started, armed, killed, started again at the same address, told to end."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.kernel.failpoint import VARIABLE
from tests.crash.law import Law, Violation
from tests.crash.worker_process import KILLED, ROOT

STOP_TIMEOUT_S = 40.0
COMPLAINT_CHARACTERS = 1_500

READY = b'"event": "ready"'

ALARMS = {
    "Traceback (most recent call last)": Law.FORESEEN,
    "LOG_REWOUND": Law.FORESEEN,
    "events parked": Law.FORESEEN,
    "usage check found a difference": Law.WINDOWS,
    "dedupe index discarded": Law.OUTLIVES,
    "written anew from the log": Law.OUTLIVES,
    "usage archive begun anew": Law.OUTLIVES,
}
"""What a service says only when something is wrong that a mere kill must not bring about, and what that breaks."""


FORESEEN_OF_REPLICAS = (
    "services.projection.owner_lock.Follows",
    "services.kernel.errors.Unavailable",
    "services.kernel.errors.Conflict",
    "services.kernel.errors.TimedOut",
)
"""Another one folds; a session ended; another one folded in between; nobody folded for a while."""


class ServiceProcess:
    """One service with a folder of its own. `bugs` are planted in it.

    A replica shares its tables with others, so it may lose its sessions there, and the lead, and says so.
    """

    def __init__(
        self,
        service: str,
        name: str,
        folder: Path,
        settings: Mapping[str, str],
        bugs: Sequence[str] = (),
        *,
        is_replica: bool = False,
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.service = service
        self.name = name
        self.var = folder / name
        self.kills = 0
        self.starts = 0
        self.ends: list[int] = []
        self._bugs = tuple(bugs)
        self._is_replica = is_replica
        self._log = folder / f"{name}.log"
        self._said_before = 0
        self._environment = {key: text for key, text in os.environ.items() if not key.startswith("METERLOG_")} | {
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            "METERLOG_LISTEN": self.address,
            "METERLOG_VAR": str(self.var),
            "METERLOG_LOG_FORMAT": "json",
            **settings,
        }
        self._running: subprocess.Popen[bytes] | None = None

    def start(self, failpoints: str = "") -> None:
        """Begin the next life, with these failpoints armed."""
        command = [sys.executable, "-m", "tests.crash.metering.service_program", self.service, *self._bugs]
        self.starts += 1
        self._said_before = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as output:
            self._running = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment | {VARIABLE: failpoints},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )

    @property
    def pid(self) -> int | None:
        """Of this life; None when it is over."""
        running = self._running
        return running.pid if running is not None and running.poll() is None else None

    def has_been_ready(self) -> bool:
        """Whether this life said so."""
        if not self._log.exists():
            return False
        with self._log.open("rb") as lines:
            lines.seek(self._said_before)
            return READY in lines.read()

    def has_ended(self) -> bool:
        """Whether this life is over, whoever ended it."""
        return self._running is None or self._running.poll() is not None

    def kill(self) -> None:
        """End it as by SIGKILL, unless it ended already, and note how."""
        if self._running is not None:
            self._running.kill()
            self._note(self._running.wait(STOP_TIMEOUT_S))

    def stop(self) -> None:
        """Tell it to end in order, and wait."""
        if self._running is not None:
            self._running.terminate()
            self._note(self._running.wait(STOP_TIMEOUT_S))

    def said(self) -> str:
        """What it said in all its lives."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def violations(self) -> list[Violation]:
        """Ends that nobody asked for, and alarms."""
        said = self.said()
        unasked = [end for end in self.ends if end not in (0, KILLED)]
        said = _without_foreseen(said) if self._is_replica else said
        return [
            *(
                Violation(Law.FORESEEN, f"{self.name} ended with {end}: {said[-COMPLAINT_CHARACTERS:]}")
                for end in unasked
            ),
            *(
                Violation(law, f"{self.name} said {_around(alarm, said)}")
                for alarm, law in ALARMS.items()
                if alarm in said
            ),
        ]

    def _note(self, end: int) -> None:
        self.ends.append(end)
        self.kills += end == KILLED
        assert self._running is not None, "it ran"
        if self._running.stdin is not None:
            self._running.stdin.close()
        self._running = None


def _without_foreseen(said: str) -> str:
    """All lines but those that tell of an error that a replica must expect, the last of whose traceback names it."""
    return "\n".join(line for line in said.splitlines() if not _is_foreseen(line))


def _is_foreseen(line: str) -> bool:
    try:
        traceback = str(json.loads(line).get("exception", ""))
    except (ValueError, AttributeError):
        return False
    return traceback.rstrip().rpartition("\n")[2].startswith(FORESEEN_OF_REPLICAS)


def _around(phrase: str, text: str) -> str:
    start = text.index(phrase)
    return text[max(0, start - 300) : start + COMPLAINT_CHARACTERS]
