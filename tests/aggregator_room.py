"""The aggregator on a store in memory, without gRPC: what its tests stand in."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import MetaData

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.api.backfills import Backfills
from services.aggregator.api.corrections import Corrections
from services.aggregator.api.counting import CountingState
from services.aggregator.api.meters import Meters
from services.aggregator.api.periods import Periods
from services.aggregator.api.totals import Totals
from services.aggregator.api.unmatched import Unmatched
from services.aggregator.api.usage import Usage
from services.aggregator.api.usage_events import UsageEvents
from services.aggregator.check.checker import UsageChecker
from services.aggregator.corrections.turn import Turn
from services.aggregator.deadline import Deadline
from services.aggregator.meters.definition import Definition
from services.aggregator.meters.meter import METER, CreateMeter, meter_stream
from services.aggregator.periods.closer import PeriodCloser
from services.aggregator.periods.period_kind import parse_period_kinds
from services.aggregator.periods.restater import PeriodRestater
from services.aggregator.periods.usage_periods import UsagePeriods
from services.aggregator.questions.answer import answer
from services.aggregator.questions.query import UsageRow, require_query
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.usage_windows import UsageWindows
from services.aggregator.waiting.counting_progress import CountingProgress
from services.aggregator.waiting.outstanding import Outstanding
from services.eventstore.catalogue import encode
from services.eventstore.decider import handle
from services.eventstore.event import BEGINNING, NO_STREAM, Position, StreamName
from services.eventstore.memory import MemoryEventStore
from services.eventstore.store import EventStore
from services.eventstore.usage_batch import encode_usage, usage_batch_of
from services.kernel.calendar import Span, Window
from services.kernel.clock import SimulatedClock, epoch_us
from services.kernel.timestamp import to_timestamp
from services.projection.database import Database
from services.projection.digest import tables_digest
from services.projection.runner import ProjectionRunner
from tests.databases import USUAL, scratch, tables_url
from tests.plain_usage import Event

NOW = datetime(2024, 6, 1, tzinfo=UTC)
DAY = datetime(2024, 3, 31, tzinfo=UTC)
ALWAYS = Span(datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
GRACE = timedelta(hours=1)
WAIT_S = 60.0
SUFFIX = "__g1"
PARTITIONS = 2


class Log:
    """A log in memory that meters and usage are written to; a usage event is named <partition>-<version>-<row>."""

    def __init__(self, clock: SimulatedClock | None = None) -> None:
        self.store = MemoryEventStore(clock or SimulatedClock(NOW))
        self._versions: dict[str, int] = {}

    def create(self, meters: Sequence[Definition]) -> None:
        for meter in meters:
            handle(self.store, METER, meter_stream(meter.slug), CreateMeter(meter, NOW), NOW)

    def record(self, batch: Sequence[Event], partition: str = "0", source: str = "test") -> Position:
        stream = StreamName("usage", partition)
        version = self._versions.get(partition, NO_STREAM)
        columns = usage_batch_of(
            [source] * len(batch),
            [event.type for event in batch],
            [event.subject for event in batch],
            [f"{partition}-{version + 1}-{row}" for row in range(len(batch))],
            [epoch_us(event.at) for event in batch],
            [event.value for event in batch],
            [event.properties for event in batch],
        )
        self._versions[partition] = version + 1
        return self.store.append(stream, [encode(encode_usage(columns), stream, version + 1, NOW)], version).position


@dataclass(frozen=True)
class Folded:
    """The read model of a log."""

    snapshot: UsageSnapshot
    metadata: MetaData

    def usage(self, meter: Definition, group_by: Sequence[str] = ()) -> list[UsageRow]:
        """All usage ever, in one window."""
        query = require_query(meter, (), ALWAYS, Window.NONE, ZoneInfo("UTC"), group_by)
        return answer(self.snapshot, query, Deadline.after(WAIT_S))

    def digest(self) -> str:
        return tables_digest(self.snapshot.connection, self.metadata, SUFFIX)


@contextmanager
def folded(log: Log, cuts: Sequence[int] = (1_000,), database: str = USUAL) -> Iterator[Folded]:
    """The log folded in pieces of `cuts` events, again and again."""
    projection, metadata, position, turn = UsageWindows(log.store), MetaData(), BEGINNING, 0
    tables = projection.tables(metadata, SUFFIX)
    with scratch(database) as connection:
        metadata.create_all(connection)
        while position < log.store.head().position:
            page = log.store.read_all(after=position, categories=projection.categories, limit=cuts[turn % len(cuts)])
            projection.fold(connection, tables, page.events)
            position, turn = page.position, turn + 1
        yield Folded(UsageSnapshot(connection, tables, log.store, position), metadata)


class AggregatorRoom:
    """The whole room: both projections fold live, the API answers, periods close when told."""

    def __init__(self, folder: Path, log: Log | None = None, now: datetime = NOW, database: str = USUAL) -> None:
        self.clock = SimulatedClock(now)
        self.log = log or Log(self.clock)
        self.database = Database.open(tables_url(database, folder), "aggregator")
        self.progress = CountingProgress()
        self.windows = ProjectionRunner(self.store, self.database, UsageWindows(self.store, self.progress))
        self.periods = ProjectionRunner(self.store, self.database, UsagePeriods())
        self.windows.start()
        self.periods.start()
        self.closer = self.another_closer()
        self.restater = self.another_restater()
        self.meters = Meters(self.store, self.windows, self.clock, view=self.progress)
        self.usage = Usage(self.store, self.windows, self.clock, view=self.progress)
        self.totals = Totals(self.store, self.windows, self.clock, view=self.progress)
        self.usage_events = UsageEvents(self.store, self.windows)
        turn = Turn()
        self.corrections = Corrections(self.store, self.windows, self.clock, turn=turn, view=self.progress)
        self.backfills = Backfills(self.store, self.windows, self.clock, turn=turn, view=self.progress)
        self.counting = CountingState(Outstanding(self.store, self.windows, self.progress))
        self.unmatched = Unmatched(self.store, self.windows)
        self.checker = UsageChecker(self.store, self.windows, self.clock, PARTITIONS)
        self.closed = Periods(self.store, self.windows, self.periods, self.clock)

    @property
    def store(self) -> EventStore:
        return self.log.store

    def another_closer(self, kinds: str = "month", doubt: Callable[[], str] = lambda: "") -> PeriodCloser:
        """A closer such as another replica has."""
        chosen = parse_period_kinds(kinds, "kinds")
        return PeriodCloser(self.store, self.clock, self.windows, chosen, GRACE, doubt=doubt)

    def another_restater(self, every_s: float = 0.0, doubt: Callable[[], str] = lambda: "") -> PeriodRestater:
        """A restater such as another replica has."""
        return PeriodRestater(self.store, self.clock, self.windows, every_s, doubt=doubt)

    def record(self, batch: Sequence[Event]) -> Position:
        """Record usage and wait until it is folded."""
        position = self.log.record(batch)
        self.catch_up()
        return position

    def create(self, slug: str = "tokens", **fields: Any) -> api.Meter:
        """Create a meter over the API: a sum of calls by region, unless `fields` say otherwise."""
        call = {"event_type": "call", "aggregation": api.AGGREGATION_SUM, "group_by": ["region"]}
        meter = api.Meter(**{"slug": slug, **call, **fields})
        return self.meters.create(api.CreateMeterRequest(meter=meter), WAIT_S).meter

    def ask(self, meter: str = "tokens", **fields: Any) -> api.QueryUsageResponse:
        """Query a meter over the API: the DAY in one window, unless `fields` say otherwise."""
        day = {"start_at": to_timestamp(DAY), "end_at": to_timestamp(DAY + timedelta(days=1))}
        return self.usage.query(api.QueryUsageRequest(**{"meter": meter, **day, **fields}), WAIT_S)

    def total(self, *meters: str, **fields: Any) -> api.QueryTotalsResponse:
        """Total meters over the API: ann's DAY, unless `fields` say otherwise."""
        day = {"start_at": to_timestamp(DAY), "end_at": to_timestamp(DAY + timedelta(days=1))}
        wanted = {"subject": "ann", "meters": meters, **day, **fields}
        return self.totals.query(api.QueryTotalsRequest(**wanted), WAIT_S)

    def catch_up(self) -> None:
        """Wait until both projections have folded what is in the log now."""
        head = self.store.head().position
        self.windows.wait_for(head, WAIT_S)
        self.periods.wait_for(head, WAIT_S)

    def close(self) -> None:
        for worker in (self.closer, self.restater, self.periods, self.windows):
            worker.stop(WAIT_S)
        self.database.close()


@contextmanager
def open_room(
    folder: Path, log: Log | None = None, now: datetime = NOW, database: str = USUAL
) -> Iterator[AggregatorRoom]:
    room = AggregatorRoom(folder, log, now, database)
    try:
        yield room
    finally:
        room.close()


def call(hours: float, value: str = "1", subject: str = "ann", **properties: str) -> Event:
    """A call so many hours behind the beginning of the DAY."""
    return Event("call", subject, DAY + timedelta(hours=hours), Decimal(value), properties)
