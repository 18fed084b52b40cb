"""A log on a server of KurrentDB's protocol behind a faulty network; the server is killed and started again."""

import os
import random
import select
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from tests.crash.arena import Trouble
from tests.crash.network import network_troubles
from tests.crash.proxy import FaultyProxy
from tests.crash.worker_process import ROOT
from tests.kurrentdb_server.__main__ import READY

END_TIMEOUT_S = 20.0
START_TIMEOUT_S = 60.0
FAULTS_AT_ONCE = 4
FAULTS = (
    "unavailable-before-commit=0.05",
    "unavailable-after-commit=0.1",
    "timeout-before-commit=0.05",
    "timeout-after-commit=0.1",
    "silent-after-commit=0.01",
    "not-ready=0.02",
    "not-leader=0.02",
    "slow-commit=0.1:0.2",
    "read-unavailable=0.05",
    "read-cut=0.05:3",
    "subscription-cut=0.3:20",
    "subscription-repeats=0.3:5",
    "consumer-too-slow=0.1:30",
)
"""What a server may do wrong, how often, and how much of it."""

RECENT_IDS_BYTES = 500
"""So few that a repeat which relies on them is soon found out."""


class KurrentArena:
    """The server is a process that keeps what it acknowledged in a file."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "server.journal"
        self._complaints = folder / "server.errors"
        self._port = 0
        self._process = self._started([])
        self._proxy = FaultyProxy(("127.0.0.1", self._port))

    @property
    def url(self) -> str:
        """As in `Arena`."""
        return f"kurrentdb://127.0.0.1:{self._proxy.port}?Tls=false"

    @property
    def direct_url(self) -> str:
        """As in `Arena`."""
        return f"kurrentdb://127.0.0.1:{self._port}?Tls=false"

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """As in `Arena`."""
        return {"server killed": self._kill, "server misbehaves": self._misbehave, **network_troubles(self._proxy)}

    def heal(self) -> None:
        """Fair weather, and a server that does nothing wrong."""
        self._end()
        self._process = self._started([])
        self._proxy.clear_up()

    def close(self) -> None:
        """As in `Arena`."""
        self._proxy.close()
        self._end()

    def _kill(self, chance: random.Random, stop: threading.Event) -> list[str]:
        self._end()
        stop.wait(chance.uniform(0.0, 0.5))
        self._process = self._started([])
        return ["server killed and started again"]

    def _misbehave(self, chance: random.Random, _stop: threading.Event) -> list[str]:
        """Killed, and started again with some faults, which stay until the next time."""
        chosen = chance.sample(FAULTS, FAULTS_AT_ONCE)
        self._end()
        self._process = self._started([*(word for told in chosen for word in ("--fault", told))])
        return [f"server misbehaves: {told.partition('=')[0]}" for told in chosen]

    def _started(self, faults: list[str]) -> subprocess.Popen[str]:
        """Under the port that it had before, if any; returns when it is ready."""
        command = [sys.executable, "-m", "tests.kurrentdb_server"]
        arguments = ["--port", str(self._port), "--data", str(self._data), "--recent-ids-bytes", str(RECENT_IDS_BYTES)]
        with self._complaints.open("ab") as complaints:
            process = subprocess.Popen(
                [*command, *arguments, *faults],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
            )
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], START_TIMEOUT_S)[0], "the server did not start in time"
        ready = process.stdout.readline()
        assert ready.startswith(READY), f"the server did not start: {self._complaints.read_text()}"
        self._port = int(ready.partition("127.0.0.1:")[2].partition("?")[0].strip("/\n"))
        return process

    def _end(self) -> None:
        self._process.kill()
        self._process.wait(END_TIMEOUT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
