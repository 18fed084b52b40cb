"""The database of read models: one serialised writer, many readers with one snapshot each."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from services.kernel.clock import monotonic_s
from services.kernel.errors import InvalidInput, TimedOut, Unavailable
from services.projection.database_sqlite import SqliteTables
from services.projection.database_url import FIELD, is_postgres
from services.projection.owner_lock import Follows

WRITE_TIMEOUT_S = 30.0
FOLD_WAIT_S = 3_600.0
"""A fold waits for a neighbour's: one that counts much usage anew takes minutes, and is no failure of the other."""
REST_S = 3.0
"""How long a process that cannot do what the leading one does leaves that to others; those look once a second."""
OWNER = "tables"
"""Whose the read models are when nobody says it."""


class Backend(Protocol):
    """One kind of database. `readers` gives snapshots that cannot write; `writer` writes as the only process.

    Whoever loses the right to be the only one can write no more. Where read models are shared, `writer` raises Follows
    while another process has it.
    """

    readers: Engine
    writer: Engine
    is_shared: bool
    term: int
    """Counts the sessions that could write: as long as it is the same, no other process has written."""

    def translated(self) -> AbstractContextManager[None]:
        """Raise the database's errors as errors that a caller can act on."""

    def writing_process(self) -> str:
        """The process that writes, where read models are shared; empty when none does."""

    def alone(self, what: str, wait_s: float) -> AbstractContextManager[Callable[[], None]]:
        """While no other process that shares the read models does `what`; the database ends a wait of `wait_s`.

        It gives what raises Unavailable when another may have begun meanwhile.
        """

    def close(self) -> None:
        """Let go of files and connections."""


class Database:
    """Read models, written by one process at a time. Rebuilt from the log when lost, so they need not outlive a crash.

    Processes that share them all read; one of them leads: it writes, and another takes over when it is gone.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._writing = threading.Lock()
        self._is_closed = False
        self._is_leading = not backend.is_shared
        self._rests_until_s = 0.0

    @staticmethod
    def open(url: str, owner: str = OWNER, *, is_shared: bool = False) -> "Database":
        """Open or create the read models of the service `owner`: `sqlite:///<file>`, or `postgresql://…`.

        In PostgreSQL each owner has a schema of its own, `meterlog_<owner>`, so that all services may share a database;
        `?schema=<name>` in the URL makes it `<name>_<owner>`. Raises InvalidInput for another URL, RuleViolated
        (DATABASE_IN_USE) when another process has these read models open, Unavailable when they cannot be used.
        `is_shared` read models in PostgreSQL may be open in many processes; a file of SQLite never is.
        """
        if is_postgres(url):
            from services.projection.database_postgres import PostgresTables

            return Database(PostgresTables(url, owner, is_shared=is_shared))
        return Database(SqliteTables(_sqlite_file(url), url))

    @property
    def is_leading(self) -> bool:
        """Whether this process was the one that writes when it was last looked at."""
        return self._is_leading

    @property
    def term(self) -> int:
        """Read inside two of its transactions, it tells whether another process can have written between them."""
        return self._backend.term

    def leads(self) -> bool:
        """Whether this process is the one that writes; takes that place when nobody has it."""
        if not self._backend.is_shared or not self._writing.acquire(blocking=False):
            return self._is_leading  # who writes at this moment finds out by itself
        try:
            self._require_open()
            self._is_leading = self._takes_the_lead()
        finally:
            self._writing.release()
        return self._is_leading

    def leader(self) -> str:
        """The process that writes; empty when it is this one, or when none does."""
        if self._is_leading:
            return ""
        self._require_open()
        with self._backend.translated():
            return self._backend.writing_process()

    def step_aside(self) -> None:
        """Let another process write, if there is one that can; this one tries again after REST_S."""
        if self._backend.is_shared and self._writing.acquire(blocking=False):
            try:
                self._is_leading = False
                self._rests_until_s = monotonic_s() + REST_S
                self._backend.writer.dispose()
            finally:
                self._writing.release()

    def require_leading(self) -> None:
        """For what only the process that writes can do: raises Follows, which names that process."""
        if not self._is_leading:
            name = self.leader() or "none at this moment"
            raise Follows(
                f"this replica follows the one that folds ({name}), and only that one can do this; ask it",
                metadata={"leader": name},
            )

    @contextmanager
    def alone(self, what: str, wait_s: float) -> Iterator[Callable[[], None]]:
        """While no other process that shares the read models does `what`. Raises TimedOut after `wait_s`.

        It gives what is to be called before the last step: it raises Unavailable when another may have begun, because
        the database is not sure of this process any more.
        """
        self._require_open()
        with self._backend.alone(what, wait_s) as require_alone:
            yield require_alone

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One snapshot, read only."""
        self._require_open()
        with self._backend.translated(), self._backend.readers.begin() as connection:
            yield connection

    @contextmanager
    def write(self, wait_s: float = WRITE_TIMEOUT_S) -> Iterator[Connection]:
        """One transaction, alone; committed at the end, rolled back on any error. Raises TimedOut after `wait_s`."""
        if not self._writing.acquire(timeout=wait_s):
            raise TimedOut(f"the read models were busy for {wait_s:.0f} s; repeat later")
        try:
            self._require_open()
            with self._backend.translated(), self._backend.writer.begin() as connection:
                self._is_leading = True  # who got a session holds the lock, also when another had it in between
                yield connection
        except Follows:
            self._is_leading = False
            raise
        finally:
            self._writing.release()

    def close(self) -> None:
        """Let go of files and connections. Safe to repeat."""
        if not self._is_closed:
            self._is_closed = True
            self._backend.close()

    def _takes_the_lead(self) -> bool:
        """A session that holds the lock is a look away; another one is tried only when nobody holds it."""
        with self._backend.translated():
            if not self._is_leading and (monotonic_s() < self._rests_until_s or self._backend.writing_process()):
                return False
            try:
                with self._backend.writer.connect():
                    return True
            except Follows:
                return False

    def _require_open(self) -> None:
        """Whoever is late must not open it anew, when another process may have it by now."""
        if self._is_closed:
            raise Unavailable("the read models were closed meanwhile; the service is stopping")


def _sqlite_file(url: str) -> str:
    """The file that a SQLite URL names."""
    try:
        parsed = make_url(url)
        is_file = parsed.get_backend_name() == "sqlite" and bool(parsed.database)
    except ArgumentError:
        is_file = False
    if not is_file:
        scheme = url.partition("://")[0][:60]
        raise InvalidInput(
            f'read models are not kept in "{scheme}"; use sqlite:///<file> or postgresql://<user>@<host>/<database>',
            field=FIELD,
        )
    return str(parsed.database)
