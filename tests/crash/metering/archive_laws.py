"""The law of the archive, which is read past the aggregator: its list by SQL, its files by Parquet."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from services.kernel.clock import from_epoch_us
from tests.crash.law import Law, Violation, broken
from tests.crash.metering.plain_log import Name, PlainLog
from tests.plain_usage import Event

_FILES = "SELECT name, after, until, start_us, end_us, rows FROM usage_archive_files WHERE is_removed = 0"
_POSITION = "SELECT position FROM usage_archive_state"


def archive_violations(log: PlainLog, database: Path, folder: Path, *, is_tidy: bool) -> tuple[list[Violation], int]:
    """Check what is archived; also how many usage events that is. When tidy, no other file may be there."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'usage_archive_state'").fetchone():
            return [], 0
        position = connection.execute(_POSITION).fetchone()[0]
        files = connection.execute(_FILES).fetchall()
    held: Counter[tuple[int, int]] = Counter()
    found: list[str] = []
    for name, *rectangle, rows in files:
        if not (folder / name).is_file():
            found.append(f"{name} is listed and not there")
            continue
        read = list(_read(folder / name))
        held.update(place for place, _, _ in read)
        found += [f"{name} has {len(read)} rows, {rows} are listed"] if len(read) != rows else []
        found += _strangers(name, rectangle, read, log)
    due = Counter({place: 1 for place in log.names if place[0] <= position})
    found += [f"{place} is missing, archived is up to {position}" for place in (due - held)]
    found += [f"{place} is there {held[place]} times, archived is up to {position}" for place in (held - due)]
    if is_tidy:
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        found += [f"{name} belongs to nobody" for name in sorted(there - {name for name, *_ in files})]
    return broken(Law.ARCHIVE, found), held.total()


def _strangers(
    name: str, rectangle: list[int], read: list[tuple[tuple[int, int], Name, Event]], log: PlainLog
) -> list[str]:
    """Rows outside the file's rectangle, or that say something else than the log."""
    after, until, start_us, end_us = rectangle
    recorded = log.by_place
    start, end = (from_epoch_us(start_us), from_epoch_us(end_us)) if start_us > -(2**60) else (None, None)
    found = []
    for place, who, event in read:
        if not after < place[0] <= until or (start is not None and end is not None and not start <= event.at < end):
            found.append(f"{place} of {event.at} lies outside {name}")
        if place in recorded and (log.names[place], recorded[place]) != (who, event):
            found.append(f"{place} is {who} {event} in {name}, in the log {log.names[place]} {recorded[place]}")
    return found


def _read(path: Path) -> Iterator[tuple[tuple[int, int], Name, Event]]:
    for row in pq.ParquetFile(path).read().to_pylist():
        yield (row["position"], row["row"]), (row["source"], row["id"]), _event(row)


def _event(row: dict[str, Any]) -> Event:
    properties = {
        key.removeprefix("p."): text for key, text in row.items() if key.startswith("p.") and text is not None
    }
    return Event(row["type"], row["subject"], from_epoch_us(row["at_us"]), row["value"], properties)
