"""Connections to the log's server: every wait on them ends, and every session is set up for the log alone."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.numeric import Int8BinaryDumper

from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.errors import translated
from services.kernel.clock import monotonic_s

APPLICATION_NAME = "meterlog"


@dataclass(frozen=True, slots=True)
class PostgresLimits:
    """How long the parts of a conversation with the server may take, and how many connections read at once.

    `reply_timeout_s` is for a server that does not say anything; it is longer than what the server itself ends.
    """

    connect_timeout_s: int = 5
    lock_timeout_s: float = 10.0
    statement_timeout_s: float = 20.0
    reply_timeout_s: float = 25.0
    readers_max: int = 8
    reader_wait_s: float = 10.0
    poll_s: float = 0.25


class BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection on which no single wait for the server lasts longer than `reply_timeout_s`.

    After such a wait it is in the middle of something, and can only be closed.
    """

    reply_timeout_s = PostgresLimits().reply_timeout_s

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """As psycopg's, with an end; psycopg looks up several times a second while it waits."""
        return super().wait(_ending(gen, self.reply_timeout_s), *arguments, **options)


def _ending(waits: Generator[Any, Any, Any], timeout_s: float) -> Generator[Any, Any, Any]:
    """The same waits for the socket, given up when they take too long together."""
    deadline_s = monotonic_s() + timeout_s
    try:
        wanted = next(waits)
        while True:
            ready = yield wanted
            if not ready and monotonic_s() >= deadline_s:
                raise psycopg.OperationalError(f"the server did not answer within {timeout_s:g} s")
            wanted = waits.send(ready)
    except StopIteration as ended:
        return ended.value


def connect(address: LogAddress, limits: PostgresLimits, *, writes: bool) -> BoundedConnection:
    """A connection in autocommit mode, set up; errors come as DomainErrors."""
    with translated(address):
        connection = BoundedConnection.connect(**connect_arguments(address, limits, writes=writes), autocommit=True)
        try:
            set_up(connection, address, limits)
        except BaseException:
            connection.close()
            raise
    return connection


def connect_arguments(address: LogAddress, limits: PostgresLimits, *, writes: bool) -> dict[str, Any]:
    """The parameters of libpq: those of the URL, and behind them ours.

    Who writes also reads from the server that it writes to: a standby may be behind, and one always reads what one
    wrote.
    """
    return {
        "application_name": APPLICATION_NAME,
        "connect_timeout": limits.connect_timeout_s,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "target_session_attrs": "read-write" if writes else "any",
        **address.parameters,
        "client_encoding": "UTF8",
    }


def set_up(connection: BoundedConnection, address: LogAddress, limits: PostgresLimits) -> None:
    """Make the session find the log's tables and no others, use their indexes, and give up in time.

    The plans of these few queries are known; a plan that the server guessed while a table was still empty would be
    kept, and read the whole table each time.
    """
    connection.reply_timeout_s = limits.reply_timeout_s
    connection.adapters.register_dumper(int, Int8BinaryDumper)
    settings = {
        "lock_timeout": f"{limits.lock_timeout_s * 1000:.0f}",
        "statement_timeout": f"{limits.statement_timeout_s * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{limits.statement_timeout_s * 1000:.0f}",
        "client_connection_check_interval": "5s",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "client_min_messages": "warning",
        "plan_cache_mode": "force_generic_plan",
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "max_parallel_workers_per_gather": "0",
        "jit": "off",
    }
    assignments = [sql.SQL("SET {} = {}").format(sql.SQL(name), sql.Literal(value)) for name, value in settings.items()]
    search_path = sql.SQL("SET search_path = {}, pg_temp").format(sql.Identifier(address.schema))
    connection.execute(sql.SQL("; ").join([search_path, *assignments]))
    connection.execute(_NO_WEAKER_COMMIT)


# A commit is answered when it is on disk. What is stronger (remote_apply) stays as the operator set it.
_NO_WEAKER_COMMIT = """
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')
"""


def is_lost(connection: BoundedConnection) -> bool:
    """Whether the connection is known to be over. Asks nobody: what the server said last is waiting on the socket."""
    try:
        # The first reads a last word, the second that nothing comes behind it.
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return connection.closed
