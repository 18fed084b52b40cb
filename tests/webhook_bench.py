"""A notifier on a log in memory, for tests: real tables, real workers, a clock that stands still, a log to write to."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

from sqlalchemy import select

from meterlog.events.v1.invoice_pb2 import InvoicedLine, InvoiceFinalized
from services.eventstore.catalogue import encode
from services.eventstore.decider import handle
from services.eventstore.event import NO_STREAM, Position, StreamName
from services.eventstore.memory import MemoryEventStore
from services.eventstore.store import EventStore
from services.kernel.clock import SimulatedClock, SystemClock, monotonic_s
from services.kernel.timestamp import to_timestamp
from services.notifier.announcer import Announcer
from services.notifier.courier import Clocks
from services.notifier.dispatcher import Dispatcher
from services.notifier.endpoint import (
    CreateEndpoint,
    DeleteEndpoint,
    EndpointCommand,
    EndpointContent,
    EndpointMode,
    endpoint,
    endpoint_stream,
)
from services.notifier.keyring import Keyring
from services.notifier.network import Network
from services.notifier.readmodel.deliveries import DeliveryFilter, DeliveryRecord, list_deliveries
from services.notifier.readmodel.projection import WebhookProjection
from services.notifier.signature import SALT_BYTES
from services.notifier.transport import HttpTransport, Reach
from services.projection.database import Database
from services.projection.runner import ProjectionRunner
from tests.databases import USUAL, tables_url

NOON = datetime(2024, 2, 1, 12, tzinfo=UTC)
MASTER_KEY = bytes(range(32))
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
WAIT_S = 60.0
FOLD_BATCH_MAX = 3
"""Few, so that the tables are seen half-way."""
POLL_S = 0.005


class Bench:
    """Started with `start`, stopped with `stop`, as often as a test likes; the log outlives it all."""

    def __init__(
        self,
        folder: Path,
        *,
        allowed: tuple[Network, ...] = LOOPBACK,
        timeout_s: int = 60,
        slots: int = 64,
        is_dry_run: bool = False,
        master_key: bytes = MASTER_KEY,
        database: str = USUAL,
    ) -> None:
        self.clock = SimulatedClock(NOON)
        self.store: EventStore = MemoryEventStore(self.clock)
        self.reach = Reach(timeout_s, slots, allowed, allows_http=True)
        self.is_dry_run = is_dry_run
        self.keyring = Keyring(master_key)
        self.folder = folder
        self._database_kind = database
        self._tables_url = tables_url(database, folder)
        self._is_started = False

    def start(self, *, with_lost_tables: bool = False) -> "Bench":
        """Start tables and workers."""
        if with_lost_tables:
            self._tables_url = tables_url(self._database_kind, self.folder, "tables_anew")
        self._database = Database.open(self._tables_url, "notifier")
        self.runner = ProjectionRunner(self.store, self._database, WebhookProjection(), FOLD_BATCH_MAX)
        self.announcer = Announcer(self.store, self.runner)
        wall = SystemClock()
        self.dispatcher = Dispatcher(
            self.store,
            self.runner,
            self.keyring,
            Clocks(self.clock, wall),
            lambda: HttpTransport(self.reach, wall),
            slots=self.reach.connections_max,
            is_dry_run=self.is_dry_run,
        )
        self._workers = (self.runner, self.announcer, self.dispatcher)
        for worker in self._workers:
            worker.start()
        self._is_started = True
        return self

    def stop(self) -> None:
        """Stop workers and close the tables; safe to repeat."""
        if self._is_started:
            self._is_started = False
            for worker in reversed(self._workers):
                worker.stop(WAIT_S)
            self._database.close()

    def close(self) -> None:
        self.stop()
        self.store.close()

    def create_endpoint(
        self, key: str, url: str, message_types: tuple[str, ...] = (), mode: EndpointMode = EndpointMode.LIVE
    ) -> str:
        """Create an endpoint and return its secret."""
        secret, seal = self.keyring.create(key, bytes(SALT_BYTES))
        self.command(CreateEndpoint(key, EndpointContent(url, message_types, "", mode), seal, self.clock.now()))
        return secret.text

    def delete_endpoint(self, key: str) -> None:
        self.command(DeleteEndpoint(key, self.clock.now()))

    def command(self, command: EndpointCommand) -> None:
        handle(self.store, endpoint, endpoint_stream(command.key), command, self.clock.now())

    def finalize(self, number: int) -> Position:
        """Put the fact of a final invoice into the log."""
        event = finalized_invoice(number)
        stream = StreamName("invoice", event.id)
        return self.store.append(stream, [encode(event, stream, 0, NOON)], NO_STREAM).position

    def deliveries(self, endpoint_key: str = "") -> list[DeliveryRecord]:
        """The delivery log, newest first."""
        with self.runner.read() as (connection, tables):
            return list_deliveries(connection, tables, DeliveryFilter(endpoint_key), None, 1_000)

    def states(self, endpoint_key: str = "") -> list[str]:
        return [record.state.value for record in self.deliveries(endpoint_key)]

    def errors(self, endpoint_key: str = "") -> list[str]:
        """The errors of all attempts, oldest delivery first."""
        return [attempt.error for record in reversed(self.deliveries(endpoint_key)) for attempt in record.attempts]

    def messages(self) -> list[str]:
        """Ids of all messages in the tables, by the positions of their facts."""
        with self.runner.read() as (connection, tables):
            messages = tables.messages
            return list(connection.execute(select(messages.c.id).order_by(messages.c.source_position)).scalars())

    def catch_up(self) -> None:
        """Wait until all that is in the log is announced and folded."""
        eventually(lambda: self.announcer.is_ready())
        self.runner.wait_for(self.store.head().position, WAIT_S)


def finalized_invoice(number: int) -> InvoiceFinalized:
    """An invoice of January with a flat line and a metered one."""
    return InvoiceFinalized(
        id=f"inv-{number}",
        number=f"INV-{number:06}",
        lines=[
            InvoicedLine(price="platform", description="Platform", quantity="1", amount="20.00"),
            InvoicedLine(price="requests", description="Requests", meter="requests", quantity="1200", amount="1.40"),
        ],
        total="21.40",
        usage_position=7,
        finalized_at=to_timestamp(NOON),
        customer="tenant-0",
        currency="USD",
        period_start_at=to_timestamp(datetime(2024, 1, 1, tzinfo=UTC)),
        period_end_at=to_timestamp(datetime(2024, 2, 1, tzinfo=UTC)),
        subscription="tenant-0-standard",
    )


def never(is_so: Callable[[], object], for_s: float) -> None:
    """Return after `for_s`; fails as soon as something is so."""
    deadline = monotonic_s() + for_s
    pause = threading.Event()
    while monotonic_s() < deadline:
        assert not is_so(), "it came to that"
        pause.wait(POLL_S)


def eventually(is_so: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    """Return as soon as something is so; fails after `timeout_s`."""
    deadline = monotonic_s() + timeout_s
    pause = threading.Event()
    while not is_so():
        assert monotonic_s() < deadline, "it did not come to that"
        pause.wait(POLL_S)
