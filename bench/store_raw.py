"""The database drivers alone as ceilings: rows into one table with one key, no versions, no ids, no hashes."""

import sqlite3
from functools import partial
from pathlib import Path
from struct import Struct

import psycopg
from psycopg import sql
from store_load import EVENT_TYPE, PAYLOAD, Append

_ROW = Struct(">hiq")
_LENGTH = Struct(">i")


class RawSqlite:
    """`executemany` in one transaction; WAL and a sync at each commit."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE events (position INTEGER PRIMARY KEY, type TEXT, payload BLOB)")

    def prepared(self, _stream: int, appends: int, events: int) -> list[Append]:
        rows = [(EVENT_TYPE, PAYLOAD)] * events
        return [partial(self._append, rows)] * appends

    def read_all(self, page: int) -> int:
        position, count = 0, 0
        query = "SELECT position, type, payload FROM events WHERE position > ? ORDER BY position LIMIT ?"
        while rows := self._connection.execute(query, (position, page)).fetchall():
            position, count = rows[-1][0], count + len(rows)
        return count

    def close(self) -> None:
        self._connection.close()

    def _append(self, rows: list[tuple[str, bytes]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO events (type, payload) VALUES (?, ?)", rows)
        self._connection.execute("COMMIT")


class RawPostgres:
    """Binary COPY in one transaction, without a lock: one caller only."""

    def __init__(self, url: str, schema: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute(sql.SQL("CREATE SCHEMA {0}; SET search_path = {0}").format(sql.Identifier(schema)))
        self._connection.execute("CREATE TABLE events (position bigint PRIMARY KEY, type text, payload bytea)")
        self._position = 0

    def prepared(self, _stream: int, appends: int, events: int) -> list[Append]:
        inputs = [self._input(events) for _ in range(appends)]
        return [partial(self._append, each) for each in inputs]

    def read_all(self, page: int) -> int:
        position, count = 0, 0
        query = "SELECT position, type, payload FROM events WHERE position > %s ORDER BY position LIMIT %s"
        with self._connection.cursor(binary=True) as cursor:
            while rows := cursor.execute(query, (position, page), prepare=True).fetchall():
                position, count = rows[-1][0], count + len(rows)
        return count

    def close(self) -> None:
        self._connection.close()

    def _input(self, events: int) -> bytes:
        rest = b"".join(_LENGTH.pack(len(cell)) + cell for cell in (EVENT_TYPE.encode(), PAYLOAD))
        rows = [_ROW.pack(3, 8, position) + rest for position in range(self._position + 1, self._position + events + 1)]
        self._position += events
        return b"PGCOPY\n\xff\r\n\x00" + bytes(8) + b"".join(rows) + b"\xff\xff"

    def _append(self, copied: bytes) -> None:
        with self._connection.cursor() as cursor, cursor.copy("COPY events FROM STDIN (FORMAT binary)") as copy:
            copy.write(copied)
