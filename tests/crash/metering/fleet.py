"""The services of one storm over one log: ingest, in one process or two, and an aggregator."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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


class Fleet:
    """Processes with folders below one. `planted` names the bugs in each process."""

    def __init__(self, folder: Path, store_url: str, ingests: int, planted: Mapping[str, Sequence[str]]) -> None:
        settings = SETTINGS | {"METERLOG_STORE_URL": store_url}

        def process(service: str, name: str) -> ServiceProcess:
            return ServiceProcess(service, name, folder, settings, planted.get(name, ()))

        self.ingests = [process("ingest", f"ingest-{number}") for number in range(ingests)]
        self.aggregator = process("aggregator", "aggregator")

    @property
    def all(self) -> Sequence[ServiceProcess]:
        """Every process."""
        return [*self.ingests, self.aggregator]

    @property
    def archive(self) -> Path:
        """Where the archive's files lie."""
        return self.aggregator.var / "aggregator" / "archive"

    @property
    def tables(self) -> Path:
        """The aggregator's tables."""
        (path,) = (self.aggregator.var / "aggregator").glob("*.db")
        return path

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


@contextmanager
def launched(folder: Path, store_url: str, ingests: int, planted: Mapping[str, Sequence[str]]) -> Iterator[Fleet]:
    """A fleet that has been started; at the end nothing of it runs."""
    fleet = Fleet(folder, store_url, ingests, planted)
    try:
        fleet.start()
        yield fleet
    finally:
        fleet.kill()
