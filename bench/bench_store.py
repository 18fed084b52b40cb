"""How fast the stores append and read, beside the `eventsourcing` library and the drivers alone, in the same run.

    python bench/bench_store.py [--rounds 5] [--events 1000000] [--stores sqlite postgres]

Events carry 200 bytes; every append is durable before it is answered. The contenders take turns within each round, on
a fresh log each; figures are medians over the rounds. Written to var/bench/store.json as well.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto" / "gen")]

import store_load as load  # noqa: E402 (the path is set above)
from rich.console import Console  # noqa: E402 (as above)
from rich.table import Table  # noqa: E402 (as above)
from store_load import Contender  # noqa: E402 (as above)
from store_ours import Ours  # noqa: E402 (as above)
from store_peer import postgres_peer, sqlite_peer  # noqa: E402 (as above)
from store_raw import RawPostgres, RawSqlite  # noqa: E402 (as above)

from services.cli.processes.private_postgres import PrivatePostgres  # noqa: E402 (as above)

OURS, PEER, RAW = "meterlog", "eventsourcing", "driver"
MEBIBYTE = 1024 * 1024
MEMORY_TIMEOUT_S = 3_600

TARGETS = {
    "sqlite append, batches of 1,000": 1.5,
    "sqlite append, one event, 64 callers": 5.0,
    "sqlite read, best page": 1.0,
    "postgres append, batches of 1,000": 3.0,
    "postgres read, best page": 1.0,
}
"""Ratios to the peer that are to be reached."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: ours, the peer's, and how many times the peer's ours is. No peer: None."""

    name: str
    value: float
    unit: str
    peer: float | None
    ratio: float | None


Opened = Callable[[str], Contender]
Rates = dict[tuple[str, str], list[float]]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=1_000_000, help="events of the run that measures memory")
    parser.add_argument("--stores", nargs="+", choices=("sqlite", "postgres"), default=["sqlite", "postgres"])
    asked = parser.parse_args()
    rows = []
    for store in asked.stores:
        with SERVED[store]() as (opened, url):
            rows += rows_of(store, measured(opened, asked.rounds))
            rows += memory_rows(store, url, asked.events)
    show(rows)
    write(rows)


@contextmanager
def sqlite_contenders() -> Iterator[tuple[Opened, str]]:
    """Each contender in a folder of its own."""
    with ExitStack() as folders:

        def folder() -> Path:
            return Path(folders.enter_context(tempfile.TemporaryDirectory()))

        contenders = {OURS: lambda: Ours(f"sqlite:///{folder()}/ours.db"), PEER: lambda: sqlite_peer(folder())}
        contenders[RAW] = lambda: RawSqlite(folder())
        yield lambda name: contenders[name](), f"sqlite:///{folder()}/memory.db"


@contextmanager
def postgres_contenders() -> Iterator[tuple[Opened, str]]:
    """Each contender in a database of its own, on one server."""
    numbers = count(1)
    with PrivatePostgres() as server:

        def database() -> str:
            return server.create_database(f"bench_{next(numbers)}")

        contenders = {OURS: lambda: Ours(database()), PEER: lambda: postgres_peer(database())}
        contenders[RAW] = lambda: RawPostgres(database(), "raw")
        yield lambda name: contenders[name](), database()


SERVED = {"sqlite": sqlite_contenders, "postgres": postgres_contenders}


def measured(opened: Opened, rounds: int) -> Rates:
    """Events a second by case and contender, one figure a round; who begins changes from round to round."""
    rates: Rates = defaultdict(list)
    for round_ in range(rounds):
        names = [OURS, PEER, RAW]
        for name in names[round_ % 3 :] + names[: round_ % 3]:
            for case, rate in cases(opened(name), name):
                rates[case, name].append(rate)
    return rates


def cases(contender: Contender, name: str) -> Iterator[tuple[str, float]]:
    """Every case, in an order in which one does not disturb the next."""
    yield "append, batches of 1,000", load.batches(contender)
    yield "read, best page", load.best_read(contender)
    if isinstance(contender, Ours):
        started_s = perf_counter()
        yield "audit, whole log", contender.verified() / (perf_counter() - started_s)
    yield "append, one event, 1 caller", load.single_events(contender)
    if name != RAW:
        yield "append, one event, 64 callers", load.many_callers(contender)
    contender.close()


def rows_of(store: str, rates: Rates) -> list[Row]:
    """Our lines, each with the peer's; behind them the drivers' ceilings, with what share of them ours reach."""
    rows = []
    for (case, name), values in rates.items():
        ours = median(rates[case, OURS])
        if name == OURS:
            peer = median(rates[case, PEER]) if (case, PEER) in rates else None
            rows.append(Row(f"{store} {case}", round(ours), "events/s", peer and round(peer), peer and ours / peer))
        elif name == RAW:
            rows.append(Row(f"{store} {case}, driver alone", round(median(values)), "events/s", None, None))
    return sorted(rows, key=lambda row: row.peer is None)


def memory_rows(store: str, url: str, events: int) -> list[Row]:
    """How much the memory of a process grew while it appended the last nine tenths, and while it read them all."""
    command = [sys.executable, str(ROOT / "bench" / "store_memory.py"), url, str(events)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=MEMORY_TIMEOUT_S)
    early, appended, read = (int(figure) for figure in ran.stdout.split())
    name = f"{store} memory over {events:,} events"
    return [
        Row(f"{name}, when a tenth was appended", round(early / MEBIBYTE, 1), "MiB", None, None),
        Row(f"{name}, growth until all were", round((appended - early) / MEBIBYTE, 1), "MiB", None, None),
        Row(f"{name}, growth while all were read", round((read - appended) / MEBIBYTE, 1), "MiB", None, None),
    ]


def show(rows: list[Row]) -> None:
    """The table, with the targets."""
    table = Table("", OURS, PEER, "ratio", "target", title="Event stores: medians, events a second unless stated")
    for row in rows:
        target = TARGETS.get(row.name)
        verdict = "" if target is None or row.ratio is None else "reached" if row.ratio >= target else "missed"
        value = f"{row.value:,.0f}" if row.unit == "events/s" else f"{row.value:,.1f} {row.unit}"
        peer, ratio = f"{row.peer:,.0f}" if row.peer else "", f"{row.ratio:.2f}" if row.ratio else ""
        table.add_row(row.name, value, peer, ratio, f"{target} {verdict}" if target else "")
    Console().print(table)


def write(rows: list[Row]) -> None:
    """The same for programs."""
    file = ROOT / "var" / "bench" / "store.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
