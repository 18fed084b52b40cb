"""A log in a real PostgreSQL behind a faulty network; the server is restarted as after a crash, its backends killed."""

import random
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from services.cli.processes.private_postgres import PrivatePostgres
from tests.crash.arena import Trouble
from tests.crash.network import network_troubles
from tests.crash.proxy import FaultyProxy

DATABASE = "crash"
CONTROL_TIMEOUT_S = 120
CONNECT_TIMEOUT_S = 60
_TERMINATE = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = %s AND pid <> pg_backend_pid() AND random() < %s
"""


class PostgresArena:
    """A server of its own, since it is stopped in the midst of things."""

    def __init__(self) -> None:
        self._private = PrivatePostgres()
        server: Any = self._private._server
        self._cluster = Path(server.pgdata)
        self._control = [str(server.bin_path / "pg_ctl"), "-w", "-D", str(self._cluster)]
        self._user = server.system_user
        self._direct = self._private.database_url(DATABASE)
        with psycopg.connect(self._private.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}".encode())
        self._proxy = FaultyProxy(str(Path(server.get_postmaster_info().socket_dir) / ".s.PGSQL.5432"))

    @property
    def url(self) -> str:
        """As in `Arena`."""
        return f"postgresql://postgres@127.0.0.1:{self._proxy.port}/{DATABASE}"

    @property
    def direct_url(self) -> str:
        """As in `Arena`."""
        return self._direct

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """As in `Arena`."""
        return {
            "server crashes": self._crash,
            "backends terminated": self._terminate,
            **network_troubles(self._proxy),
        }

    def heal(self) -> None:
        """Fair weather; the server is up again after each trouble anyway."""
        self._proxy.clear_up()

    def close(self) -> None:
        """As in `Arena`."""
        self._proxy.close()
        self._private.close()

    def _crash(self, chance: random.Random, stop: threading.Event) -> list[str]:
        """Stopped without a checkpoint, as by a crash, and recovered from its write-ahead log."""
        self._run("-m", "immediate", "stop")
        stop.wait(chance.uniform(0.0, 0.5))
        self._run("-l", str(self._cluster / "log"), "-o", self._options(), "start")
        return ["server crashed and recovered"]

    def _terminate(self, chance: random.Random, _stop: threading.Event) -> list[str]:
        with psycopg.connect(self._direct, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            connection.execute(_TERMINATE, (DATABASE, chance.random()))
        return ["backends terminated"]

    def _options(self) -> str:
        return f'-h "" -k {self._private._server.get_postmaster_info().socket_dir}'

    def _run(self, *arguments: str) -> None:
        subprocess.run(
            [*self._control, *arguments],
            user=self._user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=CONTROL_TIMEOUT_S,
            check=True,
        )
