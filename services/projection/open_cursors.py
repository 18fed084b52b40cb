"""Closes what a reader left open: a cursor that outlives its transaction would hold on to an old snapshot."""

from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event

_CURSORS: Final = "cursors"


def close_cursors_when_returned(engine: Engine) -> None:
    """Close every cursor of a connection, read to its end or not, before the connection serves the next."""

    @event.listens_for(engine, "after_cursor_execute")
    def remember(connection: Connection, cursor: Any, *_: Any) -> None:
        connection.info.setdefault(_CURSORS, WeakSet()).add(cursor)

    @event.listens_for(engine, "checkin")
    def close(_connection: Any, record: Any) -> None:
        for cursor in list(record.info.pop(_CURSORS, ())):
            cursor.close()
