"""After the clients have ended: reads the final log and tables, and asks the checker."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from services.eventstore.audit.auditable import AuditableStore
from services.eventstore.audit.verify import verify
from services.eventstore.event import BEGINNING, RecordedEvent
from services.eventstore.store import EventStore
from services.projection.database import Database
from services.projection.generations import GENERATIONS, live_generation
from services.projection.tableset import TableSet
from tests.crash.checker import violations
from tests.crash.history import History
from tests.crash.law import Law, Violation
from tests.crash.projection_laws import projection_violations
from tests.crash.tally import TallyProjection, rows_of
from tests.crash.usage_laws import usage_violations
from tests.crash.worker_paths import database_path
from tests.crash.worker_process import WorkerProcess


def read_log(store: EventStore) -> tuple[RecordedEvent, ...]:
    """Every event there is."""
    events: list[RecordedEvent] = []
    position, is_last = BEGINNING, False
    while not is_last:
        page = store.read_all(after=position)
        events += page.events
        position, is_last = page.position, page.is_last
    return tuple(events)


@dataclass(frozen=True, slots=True)
class Inspection:
    """The joined history of all workers, the number of events in the log, and every law that was broken."""

    history: History
    events: int
    violations: tuple[Violation, ...]


def inspect(store: EventStore, workers: Sequence[WorkerProcess], forgiven: Sequence[int] = ()) -> Inspection:
    """Check what workers left behind that have ended; `forgiven` are ends of theirs that were to be expected."""
    log = read_log(store)
    history = joined(worker.history() for worker in workers)
    lines = [line for worker in workers for line in worker.lines()]
    found = violations(history, log, counts_positions=isinstance(store, AuditableStore))
    found += usage_violations(lines, log)
    found += unverified(store)
    for worker in workers:
        found += worker.violations(forgiven)
        if worker.role in ("projector", "platform") and database_path(worker.order).exists():
            found += _projection_violations(database_path(worker.order), worker.history(), log)
    return Inspection(history, len(log), tuple(found))


def joined(histories: Iterable[History]) -> History:
    """All of them as one."""
    return reduce(History.joined, histories, History())


def unverified(store: EventStore) -> list[Violation]:
    """What the audit chain finds wrong, where the backend has one."""
    if not isinstance(store, AuditableStore):
        return []
    verification = verify(store)
    evidence = f"{verification.problem} at {verification.first_bad_position}"
    return [] if verification.verified else [Violation(Law.CHAIN, evidence)]


def _projection_violations(path: Path, history: History, log: Sequence[RecordedEvent]) -> list[Violation]:
    database = Database.open(f"sqlite:///{path}")
    try:
        with database.read() as connection:
            if not connection.dialect.has_table(connection, GENERATIONS.name):
                return []
            live = live_generation(connection, TallyProjection.name)
            if live is None:
                return []
            rows = rows_of(connection, TableSet.of(TallyProjection(), live).tables)
    finally:
        database.close()
    return projection_violations(rows, live.position, history.rebuilds, log)
