"""Opens a log the way a service does: again and again, until it answers."""

import threading
from pathlib import Path

from services.eventstore.open import open_store
from services.eventstore.sqlite.connection import SqliteLimits
from services.eventstore.sqlite.store import SqliteEventStore
from services.eventstore.store import EventStore
from services.kernel.clock import SystemClock
from services.kernel.errors import Overloaded, TimedOut, Unavailable
from tests.crash.worker import Order

TROUBLE = (Unavailable, TimedOut, Overloaded)
"""What a client must expect of a store that is in trouble."""

PAUSE_S = 0.05


def opened(order: Order, stop: threading.Event) -> EventStore | None:
    """The store of an order; None when it was told to stop before there was one."""
    while not stop.is_set():
        try:
            return _opened(order)
        except TROUBLE:
            stop.wait(PAUSE_S)
    return None


def _opened(order: Order) -> EventStore:
    """A log in SQLite with a small WAL, so that checkpoints come often, and with little patience for the lock."""
    path = order.url.removeprefix("sqlite:///")
    if path == order.url:
        return open_store(order.url, SystemClock())
    limits = SqliteLimits(
        wal_bytes_max=order.wal_bytes_max, lock_timeout_s=order.lock_timeout_s, busy_timeout_s=order.lock_timeout_s
    )
    return SqliteEventStore(Path(path), SystemClock(), limits=limits)
