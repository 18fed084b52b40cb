"""The planner: reads what is due, and decides which attempts begin now."""

from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Connection

from services.kernel.clock import Clock
from services.notifier.keyring import Keyring
from services.notifier.readmodel.due import (
    DueEndpoint,
    PlannedAttempt,
    due_endpoints,
    due_messages,
    next_due_at,
    planned_attempts,
)
from services.notifier.readmodel.tables import WebhookTables
from services.notifier.traffic import Demand, Traffic
from services.projection.runner import ProjectionRunner

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Agenda:
    """The attempts that have been admitted, and when more becomes due by itself (None: never)."""

    attempts: tuple[PlannedAttempt, ...]
    next_due_at: datetime | None


class Planner:
    """Reads the tables, and never writes. What it admits is under way in `traffic` from then on."""

    def __init__(
        self, runner: ProjectionRunner[WebhookTables], traffic: Traffic, keyring: Keyring, clock: Clock
    ) -> None:
        self._runner = runner
        self._traffic = traffic
        self._keyring = keyring
        self._clock = clock
        self._reported: set[str] = set()

    def plan(self) -> Agenda:
        """What to do now, from one snapshot of the tables."""
        self._traffic.settle(self._runner.position())
        now = self._clock.now()
        with self._runner.read() as (connection, tables):
            first_due_at = next_due_at(connection, tables)
            if first_due_at is None or first_due_at > now:
                return Agenda((), first_due_at)
            attempts = self._admitted(connection, tables, now)
            return Agenda(tuple(attempts), next_due_at(connection, tables, after=now))

    def _admitted(self, connection: Connection, tables: WebhookTables, now: datetime) -> list[PlannedAttempt]:
        endpoints = {due.key: due for due in due_endpoints(connection, tables, now) if self._can_sign(due)}
        demands = [self._demand(connection, tables, endpoint, now) for endpoint in endpoints]
        admitted: dict[str, list[str]] = {}
        for message_id, endpoint in self._traffic.admit(demands):
            admitted.setdefault(endpoint, []).append(message_id)
        return [
            attempt
            for endpoint, message_ids in admitted.items()
            for attempt in planned_attempts(connection, tables, endpoints[endpoint], message_ids)
        ]

    def _demand(self, connection: Connection, tables: WebhookTables, endpoint: str, now: datetime) -> Demand:
        room, busy = self._traffic.room(endpoint), self._traffic.busy_with(endpoint)
        if not room:
            return Demand(endpoint, ())
        due = due_messages(connection, tables, endpoint, now, room + len(busy))
        return Demand(endpoint, tuple(message_id for message_id in due if message_id not in busy))

    def _can_sign(self, endpoint: DueEndpoint) -> bool:
        """Whether the master key is the one that the endpoint was created with; said once in the log when not."""
        problem = self._keyring.problem(endpoint.key, endpoint.seal)
        if problem and endpoint.key not in self._reported:
            self._reported.add(endpoint.key)
            log.error("webhook endpoint cannot be signed for", endpoint=endpoint.key, problem=problem)
        return not problem
