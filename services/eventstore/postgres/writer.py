"""The writing side of a log on PostgreSQL: one commit at a time over all processes, durable before it is answered."""

import logging
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import psycopg

from services.eventstore.draft import AppendRequest, draft_commit, prepare
from services.eventstore.event import Appended, RecordedEvent, StreamName, WrongExpectedVersion
from services.eventstore.postgres import read as postgres_read
from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.connection import BoundedConnection, PostgresLimits, connect, is_lost
from services.eventstore.postgres.errors import outcome_unknown, translated
from services.eventstore.postgres.event_rows import rows_of_appends, rows_of_events
from services.eventstore.postgres.log_state import LogState, log_state
from services.eventstore.postgres.run import runs_of_appends, runs_of_events
from services.eventstore.postgres.schema import require_log
from services.eventstore.postgres.write import write
from services.eventstore.restoration import WholeCommit, next_versions, require_standing, unwritten
from services.kernel.clock import Clock
from services.kernel.failpoint import fail_at

_log = logging.getLogger(__name__)

# READ COMMITTED, whatever the database's default: only then does what is read behind the lock show the commit of who
# held it before. The lock goes with the transaction, however that ends.
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({key})"

# A commit is not to be cancelled: one that waits for a replica would then be reported as done without it.
_COMMIT = "SET LOCAL statement_timeout = 0; COMMIT"

_NOTIFY = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, '')"


class PostgresWriter:
    """The one connection of a store that writes. Safe to share between threads, which then take turns.

    After any failure the connection is dropped, and transaction and lock with it; the next commit connects anew.
    """

    def __init__(self, address: LogAddress, clock: Clock, limits: PostgresLimits) -> None:
        self._address = address
        self._clock = clock
        self._limits = limits
        self._begin = _BEGIN.format(key=address.lock_key("append")).encode()
        self._connection: BoundedConnection | None = None
        self._has_news = False
        self._using = threading.Lock()

    @property
    def backend_pid(self) -> int:
        """The server's number for the connection; 0 when there is none."""
        connection = self._connection
        return 0 if connection is None or connection.closed else connection.info.backend_pid

    def commit(self, requests: Sequence[AppendRequest]) -> Sequence[Appended | WrongExpectedVersion]:
        """Write what can be placed in one transaction, and answer each; raises Unavailable or Corrupt for all."""
        prepared = prepare(requests, self._clock.now())
        with self._connected() as connection:
            state = self._locked_state(connection, {request.stream for request in requests})

            def standing(stream: StreamName, from_version: int, limit: int) -> Sequence[RecordedEvent]:
                return postgres_read.stream_upwards(connection, stream, from_version, limit)

            draft = draft_commit(prepared, state.head, state.version, standing)
            fail_at("append.before_write")
            if draft.commit is not None:
                rows = list(rows_of_appends(draft.placed))
                write(connection, state, runs_of_appends(draft.placed), rows, [draft.commit])
            fail_at("append.before_commit")
            self._end(connection)
            self._has_news |= draft.commit is not None
            fail_at("append.after_commit")
        return draft.answers

    def restore(self, wholes: Sequence[WholeCommit]) -> None:
        """Write commits of another log in one transaction; raises Conflict, Corrupt or Unavailable, then none of them.

        What stands there already is compared and passed over.
        """
        events = [event for whole in wholes for event in whole.events]
        if not events:
            return
        with self._connected() as connection:
            state = self._locked_state(connection, {event.stream for event in events})
            new = unwritten(wholes, state.head)
            for whole in wholes[: len(wholes) - len(new)]:
                _require_standing(connection, whole)
            next_versions(new, state.version)
            added = [event for whole in new for event in whole.events]
            fail_at("append.before_write")
            if new:
                runs = runs_of_events(added)
                write(connection, state, runs, list(rows_of_events(added)), [whole.commit for whole in new])
            fail_at("append.before_commit")
            self._end(connection)
            self._has_news |= bool(new)
            fail_at("append.after_commit")

    def announce(self) -> None:
        """Tell who listens that there are new commits. A hint only: whoever misses it finds them by looking."""
        if not self._has_news:
            return
        self._has_news = False
        with self._using:
            try:
                if self._connection is not None:
                    self._connection.execute(_NOTIFY, (self._address.schema,), prepare=True)
            except psycopg.Error as error:
                _log.info("nobody was told of the newest commits: %s", error)
                self._drop_connection()

    def close(self) -> None:
        """Let go of the connection. Safe to repeat."""
        with self._using:
            self._drop_connection()

    def _locked_state(self, connection: BoundedConnection, streams: Collection[StreamName]) -> LogState:
        """Begin, wait for the writers' lock, then look: in a later statement, so that it sees what came meanwhile."""
        connection.execute(self._begin)
        return log_state(connection, streams)

    def _end(self, connection: BoundedConnection) -> None:
        """Commit; raises Unavailable (OUTCOME_UNKNOWN) when it cannot be told whether it is on disk."""
        warnings: list[psycopg.errors.Diagnostic] = []
        connection.add_notice_handler(warnings.append)
        try:
            cursor = connection.execute(_COMMIT)
        except psycopg.Error as error:
            if error.sqlstate is None or error.sqlstate.startswith("57") or connection.closed:
                raise outcome_unknown(error, self._address) from error
            raise
        finally:
            connection.remove_notice_handler(warnings.append)
        cursor.nextset()
        if warnings or cursor.statusmessage != "COMMIT":
            raise outcome_unknown(None, self._address)

    @contextmanager
    def _connected(self) -> Iterator[BoundedConnection]:
        """The connection; an error drops it, and with it whatever it had begun."""
        with self._using:
            if self._connection is None or is_lost(self._connection):
                self._drop_connection()
                self._connection = self._opened()
            try:
                with translated(self._address):
                    yield self._connection
            except BaseException:
                self._drop_connection()
                raise

    def _opened(self) -> BoundedConnection:
        connection = connect(self._address, self._limits, writes=True)
        try:
            require_log(connection, self._address)
        except BaseException:
            connection.close()
            raise
        return connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _require_standing(connection: BoundedConnection, whole: WholeCommit) -> None:
    commit = whole.commit
    leaves = postgres_read.leaves(connection, commit.first_position, commit.last_position)
    require_standing(whole, leaves, postgres_read.chain_at(connection, commit.last_position))
