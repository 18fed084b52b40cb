"""A PostgreSQL server that one test may stop, start and configure, because nobody else uses it."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg

from services.cli.processes.private_postgres import PrivatePostgres

_STOP_TIMEOUT_S = 60.0
_numbers = count(1)


class OwnPostgres:
    """A private server; `superuser()` is where a test meddles with it."""

    def __init__(self) -> None:
        self._private = PrivatePostgres()

    @property
    def folder(self) -> Path:
        """Where the server keeps its files, and its socket."""
        return Path(parse_qs(urlsplit(self._private.url).query)["host"][0])

    def fresh_log_url(self) -> str:
        """The URL of a log that does not exist yet."""
        return f"{self._private.url}&schema=own_{next(_numbers)}"

    @contextmanager
    def superuser(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self._private.url, autocommit=True) as connection:
            yield connection

    def stop_at_once(self) -> None:
        """As a crash: sessions are cut, nothing is tidied up, and the next start recovers from the write-ahead log."""
        server = self._private._server
        pid = server.get_pid()
        os.kill(pid, signal.SIGQUIT)
        waited = threading.Event()
        for _ in range(int(_STOP_TIMEOUT_S / 0.05)):
            if not (self.folder / "postmaster.pid").exists():
                return
            waited.wait(0.05)
        raise AssertionError("the server did not stop")

    def start(self) -> None:
        self._private.start_again()

    def set(self, setting: str, value: str | None) -> None:
        """Change a setting of the whole server; None: back to the default."""
        with self.superuser() as connection:
            verb = f"SET {setting} = '{value}'" if value is not None else f"RESET {setting}"
            connection.execute(f"ALTER SYSTEM {verb}".encode())
            connection.execute("SELECT pg_reload_conf()")

    def close(self) -> None:
        self._private.close()
