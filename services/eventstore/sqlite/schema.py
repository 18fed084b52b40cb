"""The tables of a log in SQLite, how a file gets them, and how a file is known to be a log."""

import os
import sqlite3
from pathlib import Path

from services.eventstore.sqlite.errors import translated
from services.eventstore.sqlite.upgrade import VERSION_BEFORE, move_events
from services.kernel.errors import InvalidInput, RuleViolated, Unavailable

APPLICATION_ID = 0x4D4C_4F47
"""Marks a file as a log of ours: "MLOG"."""

SCHEMA_VERSION = 2

_SEGMENTS = (
    """
    CREATE TABLE segments ( -- consecutive events of one stream, see segment.py
        first_position INTEGER PRIMARY KEY, -- positions are 1, 2, 3 … without gaps
        category_id INTEGER NOT NULL,
        stream_id INTEGER NOT NULL,
        first_version INTEGER NOT NULL, -- versions are 0, 1, 2 … without gaps in a stream
        recorded_at_us INTEGER NOT NULL, -- microseconds since 1970-01-01 UTC
        type TEXT NOT NULL,
        schema_version INTEGER NOT NULL,
        leaves BLOB NOT NULL, -- 32 bytes an event
        event_ids BLOB NOT NULL, -- 16 bytes an event
        payload_ends BLOB NOT NULL, -- 4 bytes an event, big-endian
        payloads BLOB NOT NULL, -- last, so that nobody reads past them who does not want them
        UNIQUE (stream_id, first_version)
    ) STRICT
    """,
    "CREATE INDEX segments_by_category ON segments (category_id)",
)

_SCHEMA = (
    "CREATE TABLE categories (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
    """
    CREATE TABLE streams (
        id INTEGER PRIMARY KEY,
        category_id INTEGER NOT NULL,
        identifier TEXT NOT NULL,
        UNIQUE (category_id, identifier)
    ) STRICT
    """,
    *_SEGMENTS,
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
    """Make an empty file a log, upgrade an earlier release's, refuse any other. The caller holds the writer's lock."""
    with translated(log):
        if _is_empty(connection):
            _create(connection, log)
        elif _is_of_earlier_release(connection):
            _upgrade(connection, log)
    require_log(connection, log)


def require_log(connection: sqlite3.Connection, log: Path) -> None:
    """Raises InvalidInput for a file that is no log, RuleViolated for one that another release wrote."""
    with translated(log):
        application_id, schema_version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    if application_id != APPLICATION_ID:
        raise InvalidInput(f"{log} is a database, but no event log; check the path", reason="NOT_AN_EVENT_LOG")
    if schema_version == VERSION_BEFORE:
        raise RuleViolated(
            f"an earlier release wrote {log}; start a service of this release, which upgrades it",
            reason="EARLIER_SCHEMA_VERSION",
        )
    if schema_version != SCHEMA_VERSION:
        raise RuleViolated(
            f"{log} has schema version {schema_version}, this release knows {SCHEMA_VERSION}; upgrade this release",
            reason="UNKNOWN_SCHEMA_VERSION",
        )


def _is_empty(connection: sqlite3.Connection) -> bool:
    (table_count,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return table_count == 0 and _pragma(connection, "application_id") in (0, APPLICATION_ID)


def _is_of_earlier_release(connection: sqlite3.Connection) -> bool:
    versions = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    return versions == (APPLICATION_ID, VERSION_BEFORE)


def _upgrade(connection: sqlite3.Connection, log: Path) -> None:
    """All or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SEGMENTS:
        connection.execute(statement)
    move_events(connection, log)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


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
