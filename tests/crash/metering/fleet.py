"""The services of one storm over one log: ingest in one process or two, and an aggregator, or replicas of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.crash.metering.service_process import ServiceProcess

SETTINGS = {
    "METERLOG_CLOCK": "system",
    "METERLOG_USAGE_PARTITIONS": "2",
    "METERLOG_CLOSE_PERIODS": "month",
    "METERLOG_GRACE_S": "0",
    "METERLOG_RESTATE_EVERY_S": "1",
    "METERLOG_CHECK_EVERY_S": "2",
}


@dataclass(frozen=True, slots=True)
class Crew:
    """How many processes there are of each kind. Several aggregators share tables in PostgreSQL, at `tables_url`."""

    ingests: int = 1
    aggregators: int = 1
    tables_url: str = ""


class Fleet:
    """Processes with folders below one. `planted` names the bugs in each process."""

    def __init__(self, folder: Path, store_url: str, crew: Crew, planted: Mapping[str, Sequence[str]]) -> None:
        self.archive = folder / "archive"
        self._tables_url = crew.tables_url
        settings = SETTINGS | {"METERLOG_STORE_URL": store_url, "METERLOG_ARCHIVE_URL": self.archive.as_uri()}
        if crew.tables_url:
            settings["METERLOG_DATABASE_URL"] = crew.tables_url

        def processes(service: str, names: Sequence[str]) -> list[ServiceProcess]:
            is_replica = len(names) > 1
            return [
                ServiceProcess(service, name, folder, settings, planted.get(name, ()), is_replica=is_replica)
                for name in names
            ]

        self.ingests = processes("ingest", [f"ingest-{number}" for number in range(crew.ingests)])
        self.aggregators = processes("aggregator", aggregator_names(crew.aggregators))

    @property
    def all(self) -> Sequence[ServiceProcess]:
        """Every process."""
        return [*self.ingests, *self.aggregators]

    @property
    def aggregator_addresses(self) -> tuple[str, ...]:
        """Where aggregators answer."""
        return tuple(process.address for process in self.aggregators)

    @property
    def tables(self) -> str:
        """The URL of the aggregator's tables."""
        if self._tables_url:
            return self._tables_url
        (path,) = (self.aggregators[0].var / "aggregator").glob("*.db")
        return f"sqlite:///{path}"

    def start(self) -> None:
        """Start those that do not run."""
        for process in self.all:
            if process.has_ended():
                process.kill()
                process.start()

    def kill(self) -> None:
        """End all as by SIGKILL."""
        for process in self.all:
            process.kill()

    def stop(self) -> None:
        """Tell all to end, and wait."""
        for process in self.all:
            process.stop()


def aggregator_names(count: int) -> list[str]:
    """What the aggregators of a fleet are called."""
    return ["aggregator"] if count == 1 else [f"aggregator-{number}" for number in range(count)]


@contextmanager
def launched(folder: Path, store_url: str, crew: Crew, planted: Mapping[str, Sequence[str]]) -> Iterator[Fleet]:
    """A fleet that has been started; at the end nothing of it runs."""
    fleet = Fleet(folder, store_url, crew, planted)
    try:
        fleet.start()
        yield fleet
    finally:
        fleet.kill()
