"""The whole of rating on a store in memory, without gRPC: what its tests stand in."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.events.v1.invoice_pb2 import InvoiceNumberAssigned
from meterlog.rating.v1 import rating_pb2
from services.eventstore.catalogue import decode
from services.eventstore.event import Appended, NewEvent, StreamName
from services.eventstore.memory import MemoryEventStore
from services.kernel.clock import Clock, SimulatedClock
from services.kernel.errors import Unavailable
from services.kernel.timestamp import from_timestamp, to_timestamp
from services.projection.database import Database
from services.projection.runner import ProjectionRunner
from services.rating.api.customers import Customers
from services.rating.api.invoices import Invoices
from services.rating.api.plans import Plans
from services.rating.api.subscriptions import Subscriptions
from services.rating.billing import Billing
from services.rating.desk import Desk
from services.rating.numbering import series_stream
from services.rating.readmodel.projection import BillingProjection
from services.rating.usage_in_memory import UsageInMemory
from services.rating.worker import BillingWorker
from tests.databases import USUAL, tables_url

GRACE = timedelta(hours=1)
WAIT_S = 60.0
NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC)
METERS = ("requests", "input_tokens", "output_tokens")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def at(text: str) -> Timestamp:
    return to_timestamp(utc(text))


class FragileStore(MemoryEventStore):
    """A store that can fail in the two ways that matter: nothing was written, or nobody was told that it was."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.lost: set[str] = set()
        self.unanswered: set[str] = set()

    def append(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Appended:
        types = {event.type for event in events}
        if types & self.lost:
            raise Unavailable("the store was gone before it wrote")
        appended = super().append(stream, events, expected_version)
        if types & self.unanswered:
            raise Unavailable("the store was gone before it answered")
        return appended

    def recover(self) -> None:
        self.lost.clear()
        self.unanswered.clear()


class RatingRoom:
    """A customer's way through rating, step by step; January 2024 is beginning."""

    def __init__(self, folder: Path, database: str = USUAL) -> None:
        self.clock = SimulatedClock(NEW_YEAR)
        self.store = FragileStore(self.clock)
        self.database = Database.open(tables_url(database, folder), "rating")
        self.books = ProjectionRunner(self.store, self.database, BillingProjection())
        self.usage = UsageInMemory(METERS)
        self.billing = self.billing_of_series("INV")
        self.worker = BillingWorker(self.billing, self.clock)
        desk = Desk(self.store, self.books, self.clock)
        self.customers = Customers(desk)
        self.plans = Plans(desk, self.usage)
        self.subscriptions = Subscriptions(desk)
        self.invoices = Invoices(desk, self.billing)

    def billing_of_series(self, series: str) -> Billing:
        return Billing(self.store, self.books, self.usage, series, GRACE)

    def customer(self, key: str, currency: str = "USD", time_zone: str = "UTC") -> rating_pb2.Customer:
        wanted = rating_pb2.Customer(key=key, currency=currency, time_zone=time_zone)
        return self.customers.create(rating_pb2.CreateCustomerRequest(customer=wanted), WAIT_S).customer

    def plan(self, *prices: rating_pb2.Price, key: str = "start", currency: str = "USD") -> rating_pb2.Plan:
        wanted = rating_pb2.Plan(key=key, currency=currency, prices=prices or (flat("20"), per_request("0.002")))
        return self.plans.create(rating_pb2.CreatePlanRequest(plan=wanted), WAIT_S).plan

    def subscribe(self, customer: str, start: str = "2024-01-01", plan: str = "start") -> rating_pb2.Subscription:
        wanted = rating_pb2.Subscription(key=f"{customer}-sub", customer=customer, plan=plan, start_at=at(start))
        request = rating_pb2.CreateSubscriptionRequest(subscription=wanted)
        return self.subscriptions.create(request, WAIT_S).subscription

    def subscribed(self, *customers: str) -> None:
        """Customers of one plan, all from January on."""
        self.plan()
        for key in customers:
            self.customer(key)
            self.subscribe(key)

    def record(self, customer: str, meter: str, when: str, value: str) -> None:
        self.usage.record(customer, meter, utc(when), Decimal(value))

    def advance(self, to: str) -> None:
        self.clock.advance(utc(to))

    def bill(self) -> None:
        """Let the worker go on until nothing is due."""
        bill_with(self.worker)

    def listed(self, **wanted: object) -> list[rating_pb2.Invoice]:
        return list(self.invoices.list(rating_pb2.ListInvoicesRequest(**wanted)).invoices)  # type: ignore[arg-type]  # the fields of the request, by name

    def shown(self, identifier: str) -> rating_pb2.Invoice:
        return self.invoices.get(rating_pb2.GetInvoiceRequest(id=identifier), WAIT_S).invoice


def bill_with(worker: BillingWorker) -> None:
    while worker.run_round():
        pass


def starts_of(invoices: list[rating_pb2.Invoice]) -> list[datetime]:
    return [from_timestamp(invoice.period_start_at) for invoice in invoices]


def assigned(room: RatingRoom, series: str) -> list[InvoiceNumberAssigned]:
    messages = [decode(recorded) for recorded in room.store.read_stream(series_stream(series))]
    return [message for message in messages if isinstance(message, InvoiceNumberAssigned)]


def numbers_in_log(room: RatingRoom) -> list[str]:
    return [message.number for message in assigned(room, "INV")]


def assigned_in_log(room: RatingRoom, series: str) -> dict[str, str]:
    customers = {invoice.id: invoice.customer for invoice in room.listed()}
    return {customers[message.invoice_id]: message.number for message in assigned(room, series)}


def flat(amount: str, key: str = "platform") -> rating_pb2.Price:
    return rating_pb2.Price(key=key, flat=rating_pb2.FlatCharge(amount=amount))


def per_request(amount: str) -> rating_pb2.Price:
    return rating_pb2.Price(key="requests", meter="requests", per_unit=rating_pb2.PerUnitCharge(unit_amount=amount))


@contextmanager
def open_room(folder: Path, database: str = USUAL) -> Iterator[RatingRoom]:
    """A room whose books are folded while it is open."""
    room = RatingRoom(folder, database)
    room.books.start()
    try:
        yield room
    finally:
        room.books.stop(WAIT_S)
        room.store.close()
        room.database.close()
