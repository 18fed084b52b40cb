"""What is appended and read when stores are compared: the same bytes, batches and callers for each of them."""

import os
import threading
from collections.abc import Callable
from time import perf_counter
from typing import Protocol

PAYLOAD = os.urandom(200)
EVENT_TYPE = "bench.v1:SomethingHappened"

BATCH_EVENTS = 1_000
BATCHES = 40
SINGLE_APPENDS = 300
CALLERS = 64
APPENDS_A_CALLER = 30
PAGES = (100, 1_000, 10_000)
JOIN_TIMEOUT_S = 300.0

Append = Callable[[], object]
"""One durable append, with everything made ready that does not belong to the store."""


class Contender(Protocol):
    """A store that is measured, on a log of its own."""

    def prepared(self, stream: int, appends: int, events: int) -> list[Append]:
        """So many appends of so many events each, to one stream, to be run one behind the other."""

    def read_all(self, page: int) -> int:
        """Read the log in pages of so many events, from the first to the last; the number of events."""

    def close(self) -> None:
        """Let go of everything."""


def batches(contender: Contender) -> float:
    """Events a second of one caller who appends batches."""
    return _rate(contender.prepared(0, BATCHES, BATCH_EVENTS), BATCHES * BATCH_EVENTS)


def single_events(contender: Contender) -> float:
    """Events a second of one caller who appends one at a time."""
    return _rate(contender.prepared(1, SINGLE_APPENDS, 1), SINGLE_APPENDS)


def many_callers(contender: Contender) -> float:
    """Events a second of many callers, each appending one event at a time to a stream of its own."""
    work = [contender.prepared(10 + caller, APPENDS_A_CALLER, 1) for caller in range(CALLERS)]
    failures: list[BaseException] = []
    begin = threading.Barrier(CALLERS + 1)

    def call(appends: list[Append]) -> None:
        begin.wait()
        try:
            for append in appends:
                append()
        except BaseException as error:
            failures.append(error)
            raise

    callers = [threading.Thread(target=call, args=(appends,), daemon=True) for appends in work]
    for caller in callers:
        caller.start()
    begin.wait()
    started_s = perf_counter()
    for caller in callers:
        caller.join(JOIN_TIMEOUT_S)
    took_s = perf_counter() - started_s
    assert not failures, failures
    assert not any(caller.is_alive() for caller in callers)
    return CALLERS * APPENDS_A_CALLER / took_s


def best_read(contender: Contender) -> float:
    """Events a second of reading everything, with the page size that suits the store best."""
    rates = []
    for page in PAGES:
        started_s = perf_counter()
        count = contender.read_all(page)
        rates.append(count / (perf_counter() - started_s))
    return max(rates)


def _rate(appends: list[Append], events: int) -> float:
    started_s = perf_counter()
    for append in appends:
        append()
    return events / (perf_counter() - started_s)
