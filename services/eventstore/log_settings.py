"""What is fixed for the life of a log, written as its first fact by whichever service comes first."""

from dataclasses import dataclass

from meterlog.events.v1.log_pb2 import LogCreated
from services.eventstore.catalogue import decode, encode
from services.eventstore.event import NO_STREAM, StreamName, WrongExpectedVersion
from services.eventstore.store import EventStore
from services.kernel.clock import Clock
from services.kernel.errors import Corrupt, InvalidInput

LOG_SETTINGS_STREAM = StreamName("log", "settings")
USAGE_PARTITIONS_MAX = 1024


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The number of usage partitions, streams usage-0 to usage-<n-1>."""

    usage_partitions: int


def log_settings(store: EventStore, clock: Clock, usage_partitions: int) -> LogSettings:
    """The settings of the log; a log that has none yet gets `usage_partitions`, which never changes after that."""
    if not 1 <= usage_partitions <= USAGE_PARTITIONS_MAX:
        raise InvalidInput(
            f"{usage_partitions} usage partitions; choose 1 to {USAGE_PARTITIONS_MAX}", field="usage_partitions"
        )
    created = _read(store)
    if created is None:
        _create(store, clock, usage_partitions)
        created = _read(store)
    if created is None:
        raise Corrupt(f"stream {LOG_SETTINGS_STREAM} was written and is not there; verify the log")
    return LogSettings(created.usage_partitions)


def _read(store: EventStore) -> LogCreated | None:
    first = store.read_stream(LOG_SETTINGS_STREAM, limit=1)
    if not first:
        return None
    created = decode(first[0])
    if not isinstance(created, LogCreated):
        raise Corrupt(f"stream {LOG_SETTINGS_STREAM} begins with {first[0].type}, not with LogCreated")
    return created


def _create(store: EventStore, clock: Clock, usage_partitions: int) -> None:
    """Losing the race against another service is fine: its settings hold."""
    created = encode(LogCreated(usage_partitions=usage_partitions), LOG_SETTINGS_STREAM, 0, clock.now())
    try:
        store.append(LOG_SETTINGS_STREAM, [created], NO_STREAM)
    except WrongExpectedVersion:
        return
