"""The tables of a log in SQLite, how a file gets them, and how a file is known to be a log."""

import os
import sqlite3
from pathlib import Path

from services.eventstore.sqlite.errors import translated
from services.kernel.errors import InvalidInput, RuleViolated, Unavailable

APPLICATION_ID = 0x4D4C_4F47
"""Marks a file as a log of ours: "MLOG"."""

SCHEMA_VERSION = 1

_SCHEMA = (
    "CREATE TABLE categories (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
    """
    CREATE TABLE streams (
        id INTEGER PRIMARY KEY,
        category_id INTEGER NOT NULL,
        identifier TEXT NOT NULL,
        version INTEGER NOT NULL, -- of its newest event
        UNIQUE (category_id, identifier)
    ) STRICT
    """,
    """
    CREATE TABLE events (
        position INTEGER PRIMARY KEY, -- 1, 2, 3 … without gaps
        category_id INTEGER NOT NULL,
        stream_id INTEGER NOT NULL,
        version INTEGER NOT NULL, -- 0, 1, 2 … without gaps in its stream
        event_id BLOB NOT NULL,
        type TEXT NOT NULL,
        schema_version INTEGER NOT NULL,
        recorded_at_us INTEGER NOT NULL, -- microseconds since 1970-01-01 UTC
        payload BLOB NOT NULL,
        leaf BLOB NOT NULL,
        UNIQUE (stream_id, version)
    ) STRICT
    """,
    "CREATE INDEX events_by_category ON events (category_id)",
    """
    CREATE TABLE commits (
        last_position INTEGER PRIMARY KEY,
        first_position INTEGER NOT NULL,
        root BLOB NOT NULL,
        chain BLOB NOT NULL
    ) STRICT
    """,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


def ensure_log(connection: sqlite3.Connection, log: Path) -> None:
    """Make an empty file a log; refuse a file that is neither. To be called with the writer's lock held."""
    with translated(log):
        if _is_empty(connection):
            _create(connection, log)
    require_log(connection, log)


def require_log(connection: sqlite3.Connection, log: Path) -> None:
    """Raises InvalidInput for a file that is no log, RuleViolated for one that a newer release wrote."""
    with translated(log):
        application_id, schema_version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    if application_id != APPLICATION_ID:
        raise InvalidInput(f"{log} is a database, but no event log; check the path", reason="NOT_AN_EVENT_LOG")
    if schema_version != SCHEMA_VERSION:
        raise RuleViolated(
            f"{log} has schema version {schema_version}, this release knows {SCHEMA_VERSION}; upgrade this release",
            reason="UNKNOWN_SCHEMA_VERSION",
        )


def _is_empty(connection: sqlite3.Connection) -> bool:
    (table_count,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return table_count == 0 and _pragma(connection, "application_id") in (0, APPLICATION_ID)


def _create(connection: sqlite3.Connection, log: Path) -> None:
    """All or nothing; the file's name is made durable, too."""
    (journal_mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if journal_mode != "wal":
        raise Unavailable(f"the file system of {log} cannot hold a write-ahead log; put it on a local disk")
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute("COMMIT")
    _sync_directory(log.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
