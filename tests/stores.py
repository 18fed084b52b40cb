"""The stores that a whole platform runs on, as the settings that name them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from services.cli.processes.environment import STORE_URL_VARIABLE
from services.cli.store_urls import DATABASE_URL_VARIABLE
from tests.kurrentdb_server import KurrentServer
from tests.postgres import fresh_database


@contextmanager
def _files() -> Iterator[dict[str, str]]:
    yield {}


@contextmanager
def _postgres() -> Iterator[dict[str, str]]:
    """Log and read models in one database."""
    url = fresh_database()
    yield {STORE_URL_VARIABLE: url, DATABASE_URL_VARIABLE: url}


@contextmanager
def _kurrentdb() -> Iterator[dict[str, str]]:
    with KurrentServer() as server:
        yield {STORE_URL_VARIABLE: server.url}


STORES: dict[str, Callable[[], AbstractContextManager[dict[str, str]]]] = {
    "sqlite": _files,
    "postgres": _postgres,
    "kurrentdb": _kurrentdb,
}
