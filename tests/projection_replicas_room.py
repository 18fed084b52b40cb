"""Replicas of one projection, in one process: each has a connection of its own to tables that all of them share."""

import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
from sqlalchemy import select

from services.eventstore.memory import MemoryEventStore
from services.eventstore.store import EventStore
from services.kernel.clock import SimulatedClock, monotonic_s
from services.projection.database import Database
from services.projection.runner import ProjectionRunner
from tests.databases import POSTGRES, tables_url
from tests.projection_room import NOON, WAIT_S, Bench, SlugProjection, SlugTables


class Replica:
    """One process's part: a database that it shares, and a projection."""

    def __init__(self, store: EventStore, url: str, version: int = 1) -> None:
        self.database = Database.open(url, is_shared=True)
        self.projection = SlugProjection(version)
        self.runner: ProjectionRunner[SlugTables] = ProjectionRunner(store, self.database, self.projection, batch_max=3)

    def started(self) -> "Replica":
        self.runner.start()
        return self

    def rows(self) -> dict[str, int]:
        with self.runner.read() as (connection, tables):
            return {row.slug: row.events for row in connection.execute(select(tables.slugs))}

    def end(self) -> None:
        self.runner.stop(WAIT_S)
        self.database.close()


class Replicas(Bench):
    """A log, and replicas on one schema, numbered in the order of their start."""

    def __init__(self, path: Path, url: str = "") -> None:
        self.path = path
        self.url = url or tables_url(POSTGRES, path.parent, path.stem)
        self.store = MemoryEventStore(SimulatedClock(NOON))
        self.members: list[Replica] = []

    def join(self, version: int = 1, *, url: str = "", store: EventStore | None = None) -> Replica:
        """One more, which has started; perhaps with another way to the tables, or to the log."""
        self.members.append(Replica(store or self.store, url or self.url, version).started())
        return self.members[-1]

    def leading(self) -> list[Replica]:
        return [member for member in self.members if member.runner.is_leading()]

    def one_leads(self) -> Replica:
        eventually(lambda: len(self.leading()) == 1)
        return self.leading()[0]

    def end(self, member: Replica) -> None:
        self.members.remove(member)
        member.end()

    def close(self) -> None:
        for member in self.members:
            member.end()


def eventually(is_so: Callable[[], bool]) -> None:
    deadline = monotonic_s() + WAIT_S
    while not is_so():
        assert monotonic_s() < deadline, "it did not become so"
        threading.Event().wait(0.01)


def end_sessions_that_fold(administrator: psycopg.Connection) -> None:
    administrator.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
