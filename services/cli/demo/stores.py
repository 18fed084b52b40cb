"""Where a demonstration keeps its log and its read models: in its folder, in a PostgreSQL of its own, or by URL."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.cli.failure import misused
from services.cli.processes.environment import STORE_URL_VARIABLE, default_store_url
from services.cli.processes.private_postgres import PrivatePostgres
from services.cli.store_urls import DATABASE_URL_VARIABLE, is_postgres, require_shared_database, shown_url
from services.eventstore.event import BEGINNING
from services.eventstore.open import open_store
from services.kernel.clock import SystemClock

SQLITE: Final = "sqlite"
POSTGRES: Final = "postgres"
DATABASE: Final = "meterlog_demo"


@dataclass(frozen=True, slots=True)
class Stores:
    """The log by its URL, and the database of read models; without one, each service has a file of its own."""

    store_url: str
    database_url: str

    @property
    def variables(self) -> dict[str, str]:
        """What the services find in their environment."""
        variables = {STORE_URL_VARIABLE: self.store_url, DATABASE_URL_VARIABLE: self.database_url}
        return {name: url for name, url in variables.items() if url}

    def __str__(self) -> str:
        tables = shown_url(self.database_url) if self.database_url else "a SQLite file for each service"
        return f"log in {shown_url(self.store_url)}, read models in {tables}"


@contextmanager
def open_stores(store: str, database: str, var: Path) -> Iterator[Stores]:
    """`store` and `database` are "sqlite", "postgres" (a private server, gone in the end), or a URL.

    Without a `database`, read models lie beside a log in PostgreSQL, else in files. Raises CommandFailed when the log
    is not empty, and when a private server is wanted and cannot be had.
    """
    with ExitStack() as stack:
        database = database or (store if store == POSTGRES or is_postgres(store) else SQLITE)
        if POSTGRES in (store, database):
            server = stack.enter_context(PrivatePostgres())
            private = server.create_database(DATABASE)
            store, database = (private if name == POSTGRES else name for name in (store, database))
        stores = Stores(
            default_store_url(var) if store == SQLITE else store,
            "" if database == SQLITE else require_shared_database(database, "--database"),
        )
        if store != SQLITE:
            _require_empty(stores.store_url)
        yield stores


def _require_empty(store_url: str) -> None:
    store = open_store(store_url, SystemClock())
    try:
        events = store.read_all(after=BEGINNING, limit=1).events
    finally:
        store.close()
    if events:
        raise misused(
            f"the log {shown_url(store_url)} is not empty, and a demonstration writes only into an empty one; give "
            "another database or schema, or delete this one when nobody needs it",
            "LOG_NOT_EMPTY",
        )
