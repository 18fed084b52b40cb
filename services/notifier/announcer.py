"""The announcer: a worker that makes a message of each fact that an endpoint wants.

It writes to the log only, and what it writes depends on the log only: a message goes to the endpoints that were enabled
and subscribed when its fact was recorded. So after a crash it begins a little earlier, and the log recognises what it
has already.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future

import structlog

from services.eventstore.catalogue import encode
from services.eventstore.event import NO_STREAM, Appended, Batch, Position, RecordedEvent, WrongExpectedVersion
from services.eventstore.group_commit import appended
from services.eventstore.store import EventStore
from services.notifier.fact import FACT_CATEGORIES
from services.notifier.message import Message, created, message_of, message_stream
from services.notifier.readmodel.endpoints import Subscriber, subscribers
from services.notifier.readmodel.messages import source_position_of_nth_newest
from services.notifier.readmodel.tables import WebhookTables
from services.projection.lasting_thread import LastingThread
from services.projection.runner import ProjectionRunner

BATCH_MAX = 100
"""Facts announced together. A crash leaves gaps in the last batch only, so a start goes back by as many messages."""

FOLD_TIMEOUT_S = 30.0
READY_POLL_S = 0.02

log = structlog.get_logger()


class Announcer:
    """Follows invoices and usage periods. One is enough; more do the same again, which the log recognises."""

    name = "announcer"

    def __init__(self, store: EventStore, runner: ProjectionRunner[WebhookTables]) -> None:
        self._store = store
        self._runner = runner
        self._thread = LastingThread(self.name, self._follow)
        self._cursor: Position | None = None
        self._is_caught_up = False

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Finish the batch in hand and stop."""
        self._thread.stop(timeout_s)

    def is_ready(self) -> bool:
        """Whether every fact up to the start has been announced, and announcing goes on."""
        return self._is_caught_up and not self._thread.problem

    def problem(self) -> str:
        """Why announcing stopped; empty while it runs."""
        return self._thread.problem

    def _follow(self, stop: threading.Event) -> None:
        while not self._runner.is_ready():
            if stop.wait(READY_POLL_S):
                return
        if self._cursor is None:
            self._cursor = self._restart_position()
        news = self._store.subscribe(after=self._cursor, categories=FACT_CATEGORIES, batch_max=BATCH_MAX, stop=stop)
        for item in news:
            if isinstance(item, Batch):
                self._announce(item.events)
            else:
                self._is_caught_up = True
            self._cursor = item.position
            self._thread.well()

    def _restart_position(self) -> Position:
        """A position up to which every fact has been announced.

        Batches are announced one after the other, each of at most BATCH_MAX facts. So of the newest BATCH_MAX + 1
        messages the oldest belongs to a batch that was finished.
        """
        with self._runner.read() as (connection, tables):
            return source_position_of_nth_newest(connection, tables, BATCH_MAX)

    def _announce(self, facts: Sequence[RecordedEvent]) -> None:
        """Append a message for each fact that is wanted, together, and return when all are durable."""
        messages = [message for fact in facts if (message := message_of(fact)) is not None]
        if not messages:
            return
        listening = self._subscribers(facts[-1].position)
        submitted: list[Future[Appended]] = []
        for message in messages:
            endpoints = _addressees(message, listening)
            if endpoints:
                submitted.append(self._submit(message, endpoints))
        for future in submitted:
            _finish(future)

    def _subscribers(self, until: Position) -> list[Subscriber]:
        """The endpoints up to a position; waits until the tables have come that far."""
        self._runner.wait_for(until, FOLD_TIMEOUT_S)
        with self._runner.read() as (connection, tables):
            return subscribers(connection, tables, until)

    def _submit(self, message: Message, endpoints: tuple[str, ...]) -> Future[Appended]:
        stream = message_stream(message.id)
        event = encode(created(message, endpoints), stream, 0, message.occurred_at)
        log.debug("webhook message", message=message.id, type=message.type, endpoints=len(endpoints))
        return self._store.submit(stream, [event], NO_STREAM)


def _addressees(message: Message, listening: Sequence[Subscriber]) -> tuple[str, ...]:
    return tuple(each.key for each in listening if each.wants(message.type, message.source_position))


def _finish(future: Future[Appended]) -> None:
    """Wait for an append. A message that is there already keeps the bytes of the first time."""
    try:
        appended(future)
    except WrongExpectedVersion:
        return
