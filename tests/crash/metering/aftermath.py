"""After the storm: what is left is checked, then the services are asked about all of it, and end in order."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import grpc

from meterlog.aggregator.v1 import aggregator_pb2 as api
from meterlog.aggregator.v1 import storage_pb2 as storage
from meterlog.aggregator.v1.aggregator_pb2_grpc import AggregatorServiceStub
from meterlog.aggregator.v1.storage_pb2_grpc import UsageStorageServiceStub
from services.eventstore.open import open_store
from services.kernel.clock import SystemClock, monotonic_s
from tests.crash.inspection import read_log, unverified
from tests.crash.law import Law, Violation, broken
from tests.crash.metering.archive_laws import archive_violations
from tests.crash.metering.calls import CALL_TIMEOUT_S, of_leader, until_answered
from tests.crash.metering.desk import rebuilt
from tests.crash.metering.doors import Usage, rows
from tests.crash.metering.fleet import Fleet
from tests.crash.metering.ledger import Asked, Ledger, Told
from tests.crash.metering.observer import ask
from tests.crash.metering.period_laws import period_violations, unsettled
from tests.crash.metering.plain_count import PlainCount
from tests.crash.metering.plain_log import PlainLog, read_plain
from tests.crash.metering.recorded_laws import recorded_violations, repeated_violations
from tests.crash.metering.window_laws import answer_violations, hour_violations
from tests.plain_corrections import Drop, Revert

AS_OF = 5
AS_OF_METERS = 4
"""Positions of each kind of which answers are asked for in the end, and meters that are asked for at each."""
SENT_AT_ONCE = 500
POLL_S = 0.5

T = TypeVar("T")


class Silent(Exception):
    """A service gave no answer in calm weather."""


class Aftermath:
    """Begins when nothing of the fleet runs, and ends so."""

    def __init__(self, fleet: Fleet, url: str, ledger: Ledger, seed: int, timeout_s: float) -> None:
        self._fleet = fleet
        self._url = url
        self._ledger = ledger
        self._chance = random.Random(f"{seed}/aftermath")
        self._seed = seed
        self._timeout_s = timeout_s
        self._never = threading.Event()
        self.done: Counter[str] = Counter()
        self.events = 0

    def violations(self, suffices: Sequence[frozenset[Law]] = ()) -> list[Violation]:
        """Every law that was broken; when one of each set is among the first, nothing more is asked."""
        found: list[Violation] = []
        log = self._log(found)
        found += self._left_behind(log)
        laws = {violation.law for violation in found}
        if not suffices or not all(laws & each for each in suffices):
            try:
                found += self._told_afterwards(log)
            except Silent as silent:
                found.append(Violation(Law.CONVERGED, f"{silent} within {self._timeout_s:g} s"))
            found += broken(Law.FORESEEN, self._ledger.complaints)
            for process in self._fleet.all:
                found += process.violations()
        return list(dict.fromkeys(found))

    def _left_behind(self, log: PlainLog) -> list[Violation]:
        """What can be told from the log, the files, and what clients were told."""
        return [
            *recorded_violations(self._ledger, log),
            *answer_violations(self._ledger.asked, PlainCount(log)),
            *self._archive(log, "after the kill", is_tidy=False),
            *(violation for process in self._fleet.all for violation in process.violations()),
        ]

    def _told_afterwards(self, log: PlainLog) -> list[Violation]:
        """What the services say of all of it, and what is left when they have ended in order; raises Silent."""
        self._fleet.start()
        found = self._asked_again(log)
        found += self._periods(0.0 if found else self._timeout_s)  # wrong windows never make right periods
        found += [*self._rebuilt(), *self._compacted()]
        self._fleet.stop()
        found += self._archive(self._log(found), "compacted", is_tidy=True)
        return found

    def _log(self, found: list[Violation]) -> PlainLog:
        store = open_store(self._url, SystemClock())
        try:
            found += unverified(store)
            events = read_log(store)
        finally:
            store.close()
        self.events = len(events)
        return read_plain(events)

    def _archive(self, log: PlainLog, when: str, *, is_tidy: bool) -> list[Violation]:
        found, held = archive_violations(log, self._fleet.tables, self._fleet.archive, is_tidy=is_tidy)
        self.done[f"usage events archived, {when}"] = held
        return found

    def _asked_again(self, log: PlainLog) -> list[Violation]:
        """Everything once more to ingest; everything of everybody from the aggregator, now and as of some positions."""
        plain = PlainCount(log)
        meters = self._meters(self._fleet.aggregator_addresses[0])
        told = [each for part in _parts(log) for each in self._sent_again(part)]
        totals = [
            self._answer(meter, address, at_least=log.head)
            for address in self._fleet.aggregator_addresses
            for meter in meters
        ]
        then = [
            self._answer(meter, self._any_aggregator(), as_of=position)
            for position in self._moments(log)
            for meter in self._chance.sample(meters, AS_OF_METERS)
        ]
        hours = [
            self._answer(meter, self._any_aggregator(), at_least=log.head, window=api.WINDOW_HOUR)
            for meter in meters
            if meter.aggregation != api.AGGREGATION_PERCENTILE
        ]
        self.done["hour states compared"] = sum(len(each.rows) for each in hours)
        late = self._log([])
        plain = PlainCount(late)
        return [
            *repeated_violations(told, log, late),
            *answer_violations([*totals, *then], plain),
            *hour_violations(hours, plain),
        ]

    def _moments(self, log: PlainLog) -> list[int]:
        """Positions at random, and some just before something was reverted."""
        reverted = [each.position - 1 for each in log.said if isinstance(each, Revert | Drop)]
        before = self._chance.sample(reverted, min(AS_OF, len(reverted)))
        return [*before, *(self._chance.randrange(1, log.head + 1) for _ in range(AS_OF))]

    def _meters(self, address: str) -> list[api.Meter]:
        with grpc.insecure_channel(address) as channel:
            stub = AggregatorServiceStub(channel)
            request = api.ListMetersRequest(page_size=1_000)
            answer = self._answered(lambda: stub.ListMeters(request, timeout=CALL_TIMEOUT_S), "list meters")
        return list(answer.meters)

    def _answered(self, call: Callable[[], T], what: str) -> T:
        answer = until_answered(call, self._ledger, what, self._never, self._timeout_s)
        if answer is None:
            raise Silent(f'no answer to "{what}"')
        return answer

    def _sent_again(self, part: Usage) -> list[Told]:
        with grpc.insecure_channel(self._fleet.ingests[0].address) as channel:
            outcomes, _ = self._answered(lambda: rows(channel, part), "send again")
        return [Told(name, *each) for (name, _), each in zip(part, outcomes, strict=True)]

    def _answer(
        self,
        meter: api.Meter,
        address: str,
        *,
        at_least: int = 0,
        as_of: int = 0,
        window: "api.Window.ValueType" = api.WINDOW_NONE,
    ) -> Asked:
        return self._answered(
            lambda: ask(address, meter, self._ledger, at_least=at_least, as_of=as_of, window=window),
            f"ask for {meter.slug}",
        )

    def _any_aggregator(self) -> str:
        return self._chance.choice(self._fleet.aggregator_addresses)

    def _periods(self, timeout_s: float) -> list[Violation]:
        """Every period is closed and, where it changed, restated in time; then all statements are looked at."""
        deadline_s = monotonic_s() + timeout_s
        while True:
            log = self._log([])
            plain = PlainCount(log)
            if not unsettled(log, plain) or monotonic_s() > deadline_s:
                break
            self._never.wait(POLL_S)
        self.done["period statements"] = sum(len(events) for events in log.periods.values())
        return period_violations(log, plain, self._seed)

    def _rebuilt(self) -> list[Violation]:
        aggregators = self._fleet.aggregator_addresses
        asked = [("usage_windows", aggregators), ("usage_periods", aggregators)]
        asked += [("usage_dedupe", (process.address,)) for process in self._fleet.ingests]
        found = []
        for name, addresses in asked:
            comparison = rebuilt(name, addresses, self._ledger, self._never)
            if comparison is None:
                raise Silent(f"no comparison of {name}")
            if not comparison.equal:
                law = Law.DEDUPE if name == "usage_dedupe" else Law.PROJECTION
                found.append(
                    Violation(law, f"{name} differs from a rebuilt one at {comparison.position}: {comparison}")
                )
        return found

    def _compacted(self) -> list[Violation]:
        """The archive is brought up to the end of the log; what it does not list any more is deleted soon."""
        request = storage.CompactUsageArchiveRequest()
        answer = self._answered(
            lambda: of_leader(
                self._fleet.aggregator_addresses,
                lambda channel: UsageStorageServiceStub(channel).CompactUsageArchive(request, timeout=CALL_TIMEOUT_S),
            ),
            "compact the archive",
        )
        if answer.archive.problem:
            return [Violation(Law.ARCHIVE, answer.archive.problem)]
        deadline_s = monotonic_s() + self._timeout_s
        while len(list(self._fleet.archive.rglob("*.parquet"))) > answer.archive.file_count:
            if monotonic_s() > deadline_s:
                return [Violation(Law.ARCHIVE, "files that are not listed any more stay")]
            self._never.wait(POLL_S)
        return []


def _parts(log: PlainLog) -> Iterator[Usage]:
    """All usage but that of backfills, whose sources nobody may write."""
    own = [each for each in log.usage if not each.source.startswith("backfill/")]
    for start in range(0, len(own), SENT_AT_ONCE):
        yield [(log.names[each.position, each.row], each.event) for each in own[start : start + SENT_AT_ONCE]]
