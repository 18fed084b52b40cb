"""The lock of an owner's read models in PostgreSQL: the session that holds it writes, and no other.

It ends with its session, so a process that was killed holds it no longer than the server needs to hear of it.
"""

import hashlib
import os
import socket
import threading
from typing import Any, Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

from services.kernel.clock import monotonic_s
from services.kernel.errors import RuleViolated
from services.projection.database_url import TablesAddress
from services.projection.generations import LOCK_NOT_AVAILABLE

PAUSE_S: Final = 0.1
NAME_MAX: Final = 63
"""Characters that PostgreSQL keeps of the name of a session."""

_HOLDER: Final = """
    SELECT sessions.application_name FROM pg_locks AS locks JOIN pg_stat_activity AS sessions USING (pid)
    WHERE locks.locktype = 'advisory' AND locks.granted AND locks.objsubid = 1
      AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND locks.classid::bigint = %s AND locks.objid::bigint = %s
"""


class Follows(RuleViolated):
    """Another replica folds these read models: this one answers from them, and does not write."""

    default_reason = "REPLICA_FOLLOWS"


class OwnerLock:
    """The lock of one schema. `what` tells locks of one schema apart."""

    def __init__(self, address: TablesAddress, what: str = "read models") -> None:
        self._address = address
        digest = hashlib.sha256(f"meterlog {what} {address.schema}".encode()).digest()
        self._key = int.from_bytes(digest[:8], signed=True)

    def take_when_connected(self, engine: Engine, wait_s: float, *, is_shared: bool) -> None:
        """Let each session of `engine` begin by taking the lock, waiting so long.

        Who does not get it gets no session: Follows where the read models are shared, else RuleViolated
        (DATABASE_IN_USE).
        """

        @event.listens_for(engine, "connect")
        def take(connection: Any, _record: Any) -> None:
            deadline = monotonic_s() + wait_s
            while not connection.execute("SELECT pg_try_advisory_lock(%s)", [self._key]).fetchone()[0]:
                connection.rollback()
                if monotonic_s() >= deadline:
                    connection.close()
                    raise self._follows() if is_shared else self._in_use()
                threading.Event().wait(PAUSE_S)
            connection.commit()

    def is_taken_in_transaction(self, connection: Connection, wait_s: float) -> bool:
        """Take it until the end of the transaction; False when others held it for so long."""
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {max(1, int(wait_s * 1_000))}")
        try:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (self._key,))
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", "") != LOCK_NOT_AVAILABLE:
                raise
            return False
        return True

    def holder(self, connection: Connection) -> str:
        """The name of the session that holds it, as `session_name` gives it; empty when nobody does."""
        high, low = (self._key >> 32) & 0xFFFFFFFF, self._key & 0xFFFFFFFF
        return connection.exec_driver_sql(_HOLDER, (high, low)).scalar() or ""

    def _follows(self) -> Follows:
        return Follows(
            f"this replica follows: another one folds the read models {self._address}; ask that one "
            "(`meterlog projections list` names it)"
        )

    def _in_use(self) -> RuleViolated:
        return RuleViolated(
            f"another process has the read models {self._address} open; stop it first", reason="DATABASE_IN_USE"
        )


def session_name() -> str:
    """How a process is called among the sessions of a server: host, which is the pod in a cluster, and process."""
    return f"meterlog {socket.gethostname()[:40]} {os.getpid()}"[:NAME_MAX]
