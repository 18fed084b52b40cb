"""Open the event store that a URL names."""

from collections.abc import Callable
from pathlib import Path

from services.eventstore.memory import MemoryEventStore
from services.eventstore.sqlite.read_only import ReadOnlySqliteEventStore
from services.eventstore.sqlite.store import SqliteEventStore
from services.eventstore.store import EventStore
from services.kernel.clock import Clock
from services.kernel.errors import InvalidInput

Opener = Callable[[str, Clock], EventStore]
"""From the whole URL to a store. Backends that come with an extra are imported when they are asked for."""


def open_store(url: str, clock: Clock, *, read_only: bool = False) -> EventStore:
    """The store of `memory://`, `sqlite:///relative/path`, `sqlite:////absolute/path`, `kurrentdb://host:2113` or
    `postgresql://user:password@host:port/database`.

    PostgreSQL goes by `postgresql` and `postgres`; `?schema=` names another schema than `meterlog_log`. KurrentDB goes
    by `kurrentdb`, `kdb` and `esdb`, each also as `…+discover://`.

    Opened for reading only, the log must be there already and appends are refused. Raises InvalidInput for another
    URL, and what the backend raises when it cannot be opened.
    """
    scheme, separator, _ = url.partition("://")
    openers = _READ_ONLY if read_only else _OPENERS
    if not separator or scheme not in openers:
        supported = ", ".join(f"{name}://" for name in openers)
        raise InvalidInput(f'the event store\'s URL is "{scheme[:60]}"; use one of {supported}', field="url")
    return openers[scheme](url, clock)


def _memory(url: str, clock: Clock) -> EventStore:
    if url != "memory://":
        raise InvalidInput(f'an event store in memory has no path, as in "{url[:60]}"; write memory://', field="url")
    return MemoryEventStore(clock)


def _sqlite(url: str, clock: Clock) -> EventStore:
    return SqliteEventStore(_path(url), clock)


def _sqlite_read_only(url: str, _clock: Clock) -> EventStore:
    return ReadOnlySqliteEventStore(_path(url))


def _kurrentdb(url: str, clock: Clock) -> EventStore:
    try:
        from services.eventstore.kurrentdb.store import KurrentEventStore
    except ModuleNotFoundError as error:
        raise _extra_missing("kurrentdb", error) from error
    return KurrentEventStore(url, clock)


def _kurrentdb_read_only(url: str, _clock: Clock) -> EventStore:
    try:
        from services.eventstore.kurrentdb.read_only import read_only_log
    except ModuleNotFoundError as error:
        raise _extra_missing("kurrentdb", error) from error
    return read_only_log(url)


def _postgres(url: str, clock: Clock) -> EventStore:
    try:
        from services.eventstore.postgres.address import LogAddress
        from services.eventstore.postgres.store import PostgresEventStore
    except ModuleNotFoundError as error:
        raise _extra_missing("postgres", error) from error
    return PostgresEventStore(LogAddress.parse(url), clock)


def _postgres_read_only(url: str, _clock: Clock) -> EventStore:
    try:
        from services.eventstore.postgres.address import LogAddress
        from services.eventstore.postgres.read_only import ReadOnlyPostgresEventStore
    except ModuleNotFoundError as error:
        raise _extra_missing("postgres", error) from error
    return ReadOnlyPostgresEventStore(LogAddress.parse(url))


def _extra_missing(extra: str, error: ModuleNotFoundError) -> InvalidInput:
    return InvalidInput(
        f'the event store\'s URL needs the extra "{extra}" ({error.name} is missing); install meterlog[{extra}]',
        field="url",
    )


def _path(url: str) -> Path:
    """The path behind the third slash."""
    host, slash, path = url.removeprefix("sqlite://").partition("/")
    if host or not slash or not path or path.endswith("/") or "?" in path or path.startswith(":"):
        raise InvalidInput(
            f'the event store\'s URL is "{url[:60]}"; write sqlite:///relative/path or sqlite:////absolute/path',
            field="url",
        )
    return Path(path)


_KURRENTDB = [name + way for name in ("kurrentdb", "kdb", "esdb") for way in ("", "+discover")]

_POSTGRES = ["postgresql", "postgres"]

_OPENERS: dict[str, Opener] = {
    "memory": _memory,
    "sqlite": _sqlite,
    **dict.fromkeys(_POSTGRES, _postgres),
    **dict.fromkeys(_KURRENTDB, _kurrentdb),
}
_READ_ONLY: dict[str, Opener] = {
    "sqlite": _sqlite_read_only,
    **dict.fromkeys(_POSTGRES, _postgres_read_only),
    **dict.fromkeys(_KURRENTDB, _kurrentdb_read_only),
}
