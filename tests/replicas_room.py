"""Replicas of the aggregator that share tables in PostgreSQL, and an ingest, as processes; and who calls them."""

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import grpc

from meterlog.aggregator.v1 import aggregator_pb2 as api
from meterlog.aggregator.v1.aggregator_pb2_grpc import AggregatorServiceStub
from meterlog.common.v1 import projection_pb2 as projections
from meterlog.common.v1.projection_pb2_grpc import ProjectionServiceStub
from services.eventstore.open import open_store
from services.kernel.clock import SystemClock, monotonic_s
from services.kernel.timestamp import to_timestamp
from tests.crash.inspection import read_log
from tests.crash.metering.doors import Usage, rows
from tests.crash.metering.fleet import Crew, Fleet, launched
from tests.crash.metering.plain_log import PlainLog, read_plain
from tests.crash.metering.service_process import ServiceProcess
from tests.plain_usage import Event
from tests.postgres import fresh_database

AT = datetime(2024, 1, 15, 12, tzinfo=UTC)
SPAN = (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC))
CALLS = api.Meter(slug="calls", event_type="call", aggregation=api.AGGREGATION_COUNT)
AMOUNT = api.Meter(slug="amount", event_type="call", aggregation=api.AGGREGATION_SUM)
SUBJECTS = ("ann", "bob", "cat", "dan")

WAIT_S = 120.0
"""A bound for what must come to pass, on whatever machine; all of it takes a few seconds on an idle one."""
CALL_TIMEOUT_S = 30.0
POLL_S = 0.05

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Said:
    """What one replica said: by subject, at a position."""

    replica: str
    position: int
    totals: dict[str, str]


class Totals:
    """The sums of a log by subject, at each of its positions: plain Python over its usage events."""

    def __init__(self, log: PlainLog) -> None:
        self._positions = [0]
        self._sums: list[dict[str, Decimal]] = [{}]
        for usage in log.usage:
            sums = dict(self._sums[-1])
            sums[usage.event.subject] = sums.get(usage.event.subject, Decimal(0)) + usage.event.value
            self._positions.append(usage.position)
            self._sums.append(sums)

    def at(self, position: int) -> dict[str, Decimal]:
        return self._sums[bisect_right(self._positions, position) - 1]


class Replicas:
    """Three aggregators over one log; `away` are those that a test has killed or frozen, until they are back."""

    def __init__(self, fleet: Fleet, store_url: str) -> None:
        self.fleet = fleet
        self.away: set[str] = set()
        self._store_url = store_url

    @property
    def members(self) -> Sequence[ServiceProcess]:
        return self.fleet.aggregators

    def channel(self, process: ServiceProcess) -> grpc.Channel:
        return grpc.insecure_channel(process.address)

    def record(self, usage: Usage, backfill: str = "") -> int:
        """Send until it is answered; the position that all of it stands at or before."""

        def send() -> int:
            with self.channel(self.fleet.ingests[0]) as channel:
                outcomes, _ = rows(channel, usage, backfill)
            assert {outcome for outcome, _ in outcomes} <= {"recorded", "duplicate"}
            return max(position for _, position in outcomes)

        return answered(send)

    def ask(self, process: ServiceProcess, at_least: int = 0, meter: str = "amount") -> Said:
        """The totals of a meter by subject, from one replica; raises grpc.RpcError."""
        request = api.QueryUsageRequest(
            meter=meter,
            start_at=to_timestamp(SPAN[0]),
            end_at=to_timestamp(SPAN[1]),
            group_by=["subject"],
            min_position=at_least,
        )
        with self.channel(process) as channel:
            answer = AggregatorServiceStub(channel).QueryUsage(request, timeout=CALL_TIMEOUT_S)
        return Said(process.name, answer.position, {row.group["subject"]: row.value for row in answer.rows})

    def leader_of(self, process: ServiceProcess) -> str:
        """Whom a replica names as the one that folds; empty when that is itself, or nobody."""
        with self.channel(process) as channel:
            listed = ProjectionServiceStub(channel).ListProjections(
                projections.ListProjectionsRequest(), timeout=CALL_TIMEOUT_S
            )
        return next(each.leader for each in listed.projections if each.name == "usage_windows")

    def leader(self) -> ServiceProcess:
        """The replica that those that are there name as the one that folds, once they do."""

        def named() -> ServiceProcess | None:
            names = {self.leader_of(process) for process in self.members if process.name not in self.away}
            pids = {name.rpartition(" ")[2] for name in names if name}
            found = [process for process in self.members if str(process.pid) in pids and process.name not in self.away]
            return found[0] if len(found) == 1 else None

        return until(lambda: answered(named), "one replica that the others call the leader")

    def followers(self) -> list[ServiceProcess]:
        """Those that are there and do not fold."""
        leader = self.leader()
        return [process for process in self.members if process is not leader and process.name not in self.away]

    def start(self, process: ServiceProcess) -> None:
        """Start one that was ended, and wait until it is ready."""
        process.start()
        until(process.has_been_ready, f"{process.name} is ready")
        self.away.discard(process.name)

    def log(self) -> PlainLog:
        """What the log says, read past the services."""
        store = open_store(self._store_url, SystemClock())
        try:
            return read_plain(read_log(store))
        finally:
            store.close()


@contextmanager
def three_replicas(folder: Path) -> Iterator[Replicas]:
    """An ingest and three aggregators, ready; meters `calls` and `amount`."""
    store_url = f"sqlite:///{folder / 'log' / 'events.db'}"
    with launched(folder, store_url, Crew(aggregators=3, tables_url=fresh_database()), {}) as fleet:
        replicas = Replicas(fleet, store_url)
        for process in fleet.all:
            until(process.has_been_ready, f"{process.name} is ready")
        for meter in (CALLS, AMOUNT):
            with replicas.channel(fleet.aggregators[0]) as channel:
                AggregatorServiceStub(channel).CreateMeter(api.CreateMeterRequest(meter=meter), timeout=CALL_TIMEOUT_S)
        yield replicas


def some_usage(source: str, first: int, count: int, subjects: Sequence[str] = SUBJECTS) -> Usage:
    """Usage events of one source, numbered; their values have fractions that no float holds."""
    return [
        (
            (source, f"{number}"),
            Event("call", subjects[number % len(subjects)], AT, Decimal(number) / 10 + Decimal("0.1"), {}),
        )
        for number in range(first, first + count)
    ]


@contextmanager
def again_and_again(what: Callable[[], object], name: str) -> Iterator[None]:
    """While the block runs; a failure is that of the test, in the end."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            what()

    with beside(repeat, name):
        try:
            yield
        finally:
            stop.set()


@contextmanager
def beside(what: Callable[[], object], name: str) -> Iterator[None]:
    """In a thread beside the block, which waits for its end; a failure is that of the test."""
    failures: list[Exception] = []

    def run() -> None:
        try:
            what()
        except (AssertionError, grpc.RpcError) as error:
            failures.append(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(WAIT_S)
    assert not thread.is_alive(), f"{name} did not end"
    if failures:
        raise AssertionError(f"{name} failed: {failures[0]}") from failures[0]


def until(what: Callable[[], T | None], shown: str) -> T:
    """The first value that is true."""
    deadline = monotonic_s() + WAIT_S
    while not (value := what()):
        assert monotonic_s() < deadline, f"not within {WAIT_S:.0f} s: {shown}"
        threading.Event().wait(POLL_S)
    return value


def answered(call: Callable[[], T]) -> T:
    """The answer of a call that is repeated while the service says that it cannot answer now."""
    deadline = monotonic_s() + WAIT_S
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE or monotonic_s() > deadline:
                raise
            threading.Event().wait(POLL_S)
