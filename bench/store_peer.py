"""The `eventsourcing` library's recorders as contenders: their fastest safe configuration, the same durability."""

from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore
from psycopg.conninfo import conninfo_to_dict
from store_load import EVENT_TYPE, PAYLOAD, Append

CONNECTIONS = 16
LOCK_TIMEOUT_S = 120


class Peer:
    """A recorder; its writes are made durable by the database, as ours are."""

    def __init__(self, recorder: Any, datastore: Any) -> None:
        self._recorder = recorder
        self._datastore = datastore
        recorder.create_table()

    def prepared(self, stream: int, appends: int, events: int) -> list[Append]:
        batches = [_stored(UUID(int=stream), append * events, events) for append in range(appends)]
        return [partial(self._recorder.insert_events, batch) for batch in batches]

    def read_all(self, page: int) -> int:
        start, count = 1, 0
        while notifications := self._recorder.select_notifications(start=start, limit=page):
            start, count = notifications[-1].id + 1, count + len(notifications)
        return count

    def close(self) -> None:
        self._datastore.close()


def _stored(stream: UUID, first: int, count: int) -> list[StoredEvent]:
    return [StoredEvent(stream, first + index, EVENT_TYPE, PAYLOAD) for index in range(count)]


def sqlite_peer(folder: Path) -> Peer:
    """In a file, WAL, with SQLite's default of a sync at each commit."""
    datastore = SQLiteDatastore(
        str(folder / "peer.db"), lock_timeout=LOCK_TIMEOUT_S, pool_size=CONNECTIONS, pool_timeout=LOCK_TIMEOUT_S
    )
    return Peer(SQLiteApplicationRecorder(datastore), datastore)


def postgres_peer(url: str) -> Peer:
    """With its table lock: without it (its database functions) readers at the tail miss events."""
    parameters = conninfo_to_dict(url)
    datastore = PostgresDatastore(
        dbname=str(parameters["dbname"]),
        host=str(parameters["host"]),
        port=str(parameters.get("port", "5432")),
        user=str(parameters["user"]),
        password=str(parameters.get("password", "")),
        connect_timeout=LOCK_TIMEOUT_S,
        pool_size=CONNECTIONS,
    )
    return Peer(PostgresApplicationRecorder(datastore), datastore)
