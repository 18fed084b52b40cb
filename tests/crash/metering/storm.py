"""The storm over metering: clients record, correct and ask while services are killed; then all is checked."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.kernel.clock import monotonic_s
from tests.crash.law import Law, Violation
from tests.crash.metering.aftermath import Aftermath
from tests.crash.metering.desk import METERS, Desk
from tests.crash.metering.fleet import Crew, Fleet, launched
from tests.crash.metering.ledger import Ledger
from tests.crash.metering.observer import Observer
from tests.crash.metering.producer import Producer
from tests.crash.metering.reaper import POINTS, Reaper
from tests.crash.metering.succession import Succession
from tests.crash.trial import Trial

METERING_BACKENDS = ("sqlite", "postgres")
"""Stores that the log of a storm may be in. Several aggregators need tables in PostgreSQL; one has them in SQLite."""

PRODUCERS = 3
PRODUCER_PACE_S = 0.05
DESK_PACE_S = 0.15
OBSERVER_PACE_S = 0.1
PACED_SECONDS = 60.0
"""A longer storm is no denser, so that the plain count of its log still ends."""

KILLS_MIN = 2
HARMS_MIN = 3
DECISIONS_MIN = 5
ANSWERS_MIN = 3
"""So much there is in every storm: kills of each process, harms to replicas, decisions of the desk, answers."""

CORRECTIONS_AFTER = 2
"""Corrections that come after all usage, so that they alone restate periods."""

BEGIN_TIMEOUT_S = 180.0
ENOUGH_TIMEOUT_S = 240.0
JOIN_TIMEOUT_S = 60.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class MeteringStorm:
    """What is to be tried. `points` of each process where they are not those of its service; `planted` bugs of each.

    `is_thorough` demands that every point was reached, however long that takes, up to a bound.
    """

    backend: str
    seed: int
    seconds: float
    ingests: int = 1
    aggregators: int = 1
    is_thorough: bool = False
    planted: Mapping[str, Sequence[str]] = field(default_factory=dict)
    points: Mapping[str, Sequence[str]] = field(default_factory=dict)
    suffices: Sequence[frozenset[Law]] = ()
    """When one law of each set is found broken in what was left behind, that is enough to know."""
    calm_timeout_s: float = 90.0


THOROUGH_TIMEOUT_S = 900.0
"""How much longer a thorough storm may last than it was told to."""


def metered(storm: MeteringStorm, folder: Path) -> Trial:
    """Let a storm pass over a new log in `folder`, and check everything."""
    with _urls(storm, folder) as (url, tables_url):
        crew = Crew(storm.ingests, storm.aggregators, tables_url)
        with launched(folder, url, crew, storm.planted) as fleet:
            return _Weather(storm, url, fleet).run()


@contextmanager
def _urls(storm: MeteringStorm, folder: Path) -> Iterator[tuple[str, str]]:
    """Of the log, and of the tables where they are shared."""
    file = f"sqlite:///{folder / 'log' / 'events.db'}" if storm.backend == "sqlite" else ""
    if file and storm.aggregators == 1:
        yield file, ""
        return
    from services.cli.processes.private_postgres import PrivatePostgres

    with PrivatePostgres() as server:
        yield file or server.url, server.url if storm.aggregators > 1 else ""


class _Weather:
    def __init__(self, storm: MeteringStorm, url: str, fleet: Fleet) -> None:
        self._storm = storm
        self._fleet = fleet
        self._ledger = Ledger()
        self._calm = threading.Event()
        self._sent = threading.Event()
        self._over = threading.Event()
        self._found: list[Violation] = []
        pace = max(1.0, storm.seconds / PACED_SECONDS)
        ingests = tuple(process.address for process in fleet.ingests)
        aggregators = fleet.aggregator_addresses
        self._producers = [
            Producer(f"producer-{number}", ingests, self._ledger, storm.seed, self._sent, PRODUCER_PACE_S * pace)
            for number in range(PRODUCERS)
        ]
        self._desk = Desk((ingests[0], aggregators), self._ledger, storm.seed, self._over, DESK_PACE_S * pace)
        self._observer = Observer(aggregators, METERS, self._ledger, storm.seed, self._over, OBSERVER_PACE_S * pace)
        self._reapers = [
            Reaper(process, points, storm.seed, self._calm, once=bool(storm.points))
            for process in (fleet.all if storm.aggregators == 1 else fleet.ingests)
            if (points := storm.points.get(process.name, POINTS[process.service]))
        ]
        self._succession = Succession(fleet, storm.seed, self._calm)
        self._has_succession = storm.aggregators > 1 and not storm.points
        self._aftermath = Aftermath(fleet, url, self._ledger, storm.seed, storm.calm_timeout_s)

    def run(self) -> Trial:
        self._rage()
        self._calm_down()
        self._found += self._aftermath.violations(self._storm.suffices)
        return self._trial()

    def _rage(self) -> None:
        """Clients begin in fair weather; an observer asks only for meters that there are."""
        clients = [*self._producers, self._desk]
        for client in clients:
            client.start()
        is_begun = self._awaited(
            "the first acknowledgements",
            BEGIN_TIMEOUT_S,
            lambda: len(self._ledger.decided) >= len(METERS) and bool(self._ledger.told),
        )
        if not is_begun:
            return
        self._observer.start()
        for reaper in self._reapers:
            reaper.start()
        if self._has_succession:
            self._succession.start()
        self._calm.wait(self._storm.seconds)
        self._awaited("enough of everything", ENOUGH_TIMEOUT_S, self._is_enough)
        if self._storm.is_thorough:
            self._awaited(
                "the last of all failpoints",
                THOROUGH_TIMEOUT_S,
                lambda: not self._unreached(),
            )
            self._found += [Violation(Law.CONVERGED, f"{point} was not reached") for point in self._unreached()]

    def _is_enough(self) -> bool:
        """A storm on a busy machine takes as long as it takes."""
        return (
            all(reaper.is_content(KILLS_MIN) for reaper in self._reapers)
            and (not self._has_succession or self._succession.faults.total() >= HARMS_MIN)
            and sum(self._desk.done.values()) >= DECISIONS_MIN
            and len(self._ledger.asked) >= ANSWERS_MIN
        )

    def _unreached(self) -> list[str]:
        return [f"{reaper.name}: {point}" for reaper in self._reapers for point in reaper.unreached()]

    def _calm_down(self) -> None:
        """In fair weather everybody gets an answer; then clients end, and the services with them, by a last kill."""
        self._calm.set()
        self._join([*self._reapers, self._succession])
        self._fleet.kill()
        self._fleet.start()
        began = len(self._ledger.told)
        self._awaited(
            "an answer for every producer",
            self._storm.calm_timeout_s,
            lambda: (
                len({each.name[0].rpartition("-")[0] for each in self._ledger.told[began:]} & self._names())
                == PRODUCERS
            ),
        )
        self._sent.set()
        self._join(self._producers)
        corrected = self._corrections()
        self._awaited(
            "a correction of usage that nothing touches any more",
            self._storm.calm_timeout_s,
            lambda: self._corrections() >= corrected + CORRECTIONS_AFTER,
        )
        self._over.set()
        self._join([self._desk, self._observer])
        self._fleet.kill()

    def _corrections(self) -> int:
        return sum(kind == "correction" for kind, _ in self._ledger.decided)

    def _names(self) -> set[str]:
        return {producer.name for producer in self._producers}

    def _join(self, threads: Sequence[threading.Thread]) -> None:
        deadline_s = monotonic_s() + JOIN_TIMEOUT_S
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline_s - monotonic_s()))
                assert not thread.is_alive(), f"{thread.name} did not end; its traceback may be above"

    def _awaited(self, what: str, timeout_s: float, is_so: Callable[[], bool]) -> bool:
        deadline_s = monotonic_s() + timeout_s
        waiting = threading.Event()
        while not is_so():
            if monotonic_s() > deadline_s:
                self._found.append(Violation(Law.CONVERGED, f"{what} did not come within {timeout_s:g} s"))
                return False
            waiting.wait(POLL_S)
        return True

    def _trial(self) -> Trial:
        ledger, storm = self._ledger, self._storm
        done = Counter(
            {
                "starts": sum(process.starts for process in self._fleet.all),
                "usage events acknowledged": len({each.name for each in ledger.told}),
                "usage events answered": len(ledger.told) + len(ledger.contradicted),
                "answers lost": ledger.lost_answers,
                "queries checked": len(ledger.asked),
                **self._desk.done,
                **self._aftermath.done,
            }
        )
        return Trial(
            what=f"metering storm of {storm.seconds:g} s"
            + "".join(f", {bug}" for bugs in storm.planted.values() for bug in bugs),
            backend=storm.backend,
            seed=storm.seed,
            kills=sum(process.kills for process in self._fleet.all),
            faults=sum((reaper.faults for reaper in self._reapers), self._succession.faults),
            operations=len(ledger.told) + len(ledger.decided) + len(ledger.asked),
            acknowledged=done["usage events acknowledged"],
            events=self._aftermath.events,
            violations=tuple(self._found),
            done=done,
        )
