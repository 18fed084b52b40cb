"""The law of the archive, which is read past the aggregator: its list by SQL, its files by Parquet."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from sqlalchemy import create_engine, inspect

from services.kernel.clock import from_epoch_us
from tests.crash.law import Law, Violation, broken
from tests.crash.metering.plain_log import Name, PlainLog
from tests.plain_usage import Event

SCHEMA = "meterlog_aggregator"

_FILES = "SELECT name, after, until, start_us, end_us, rows FROM usage_archive_files WHERE is_removed = 0"
_POSITION = "SELECT position FROM usage_archive_state"


def archive_violations(log: PlainLog, tables_url: str, folder: Path, *, is_tidy: bool) -> tuple[list[Violation], int]:
    """Check what is archived; also how many usage events that is. When tidy, no other file may be there."""
    position, files = _listed(tables_url)
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


def _listed(tables_url: str) -> tuple[int, Sequence[Any]]:
    """Up to where usage is archived, and the files; 0 and none when nothing was ever listed."""
    engine = create_engine(tables_url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SET search_path = {SCHEMA}")
            if not inspect(connection).has_table("usage_archive_state"):
                return 0, ()
            return (
                connection.exec_driver_sql(_POSITION).scalar_one(),
                connection.exec_driver_sql(_FILES).all(),
            )
    finally:
        engine.dispose()


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
