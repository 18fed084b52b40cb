"""Merges sorted files into new ones, a few rows of each at a time: memory does not grow with what is merged."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing

import numpy as np
import pyarrow as pa

from services.aggregator.archive.archived_file import ArchivedFile, Span
from services.aggregator.archive.file_writer import ROW_GROUP_ROWS
from services.aggregator.archive.folder import ArchiveFolder
from services.aggregator.archive.restraint import Restraint
from services.aggregator.archive.rows import most_used, property_columns, property_uses, sorted_rows, with_others
from services.aggregator.archive.sorted_file import SortedFile
from services.aggregator.archive.time_cut import DAY_US, Stretch, cut_days, days_of
from services.aggregator.archive.writing import write_sorted

READ_BYTES_MAX = 32 * 1024 * 1024
"""Rows that are read of all files and not merged yet, as estimated by ROW_BYTES and COLUMN_BYTES."""
ROW_BYTES = 128
COLUMN_BYTES = 4
READ_ROWS_MIN = 256

Key = tuple[str, int, int, int]
"""Subject, time, position and row: the order of the rows in a file."""


def merge_files(
    folder: ArchiveFolder, below: str, files: Sequence[ArchivedFile], restraint: Restraint
) -> list[ArchivedFile]:
    """Write what `files` hold, neighbours in log order and of one stretch of time, into new files in `below`.

    A stretch of more than a day is cut finer where that is possible. Raises Unreadable when a file cannot be read, and
    Unavailable; what was written by then belongs to nobody.
    """
    span = Span(files[0].after, files[-1].until, files[-1].leaf)
    stretch = Stretch(files[0].start_us, files[0].end_us)
    with ExitStack() as opened:
        sources = [opened.enter_context(closing(SortedFile(folder, file))) for file in files]
        rows_each = _rows_each(sources)
        kept = _kept_properties(sources, rows_each, restraint)
        schema = _schema(sources, kept)
        runs = [_Run(_in_schema(source.parts(rows_each), kept, schema)) for source in sources]
        stretches = _stretches(sources, stretch, restraint)
        return write_sorted(folder, below, _merged(runs), schema, stretches, span, restraint)


def _rows_each(sources: Sequence[SortedFile]) -> int:
    width = max(ROW_BYTES + COLUMN_BYTES * len(source.schema) for source in sources)
    return max(READ_ROWS_MIN, min(ROW_GROUP_ROWS, READ_BYTES_MAX // (width * len(sources))))


def _kept_properties(sources: Sequence[SortedFile], rows_each: int, restraint: Restraint) -> frozenset[str]:
    """Which properties get columns of their own; they are counted when there are too many."""
    names = {name for source in sources for name in property_columns(source.schema)}
    kept = most_used(Counter(names))
    if len(kept) == len(names):
        return kept
    uses: Counter[str] = Counter()
    for source in sources:
        for part in source.parts(rows_each, property_columns(source.schema)):
            uses += property_uses(part)
            restraint.rest()
    return most_used(uses)


def _schema(sources: Sequence[SortedFile], kept: frozenset[str]) -> pa.Schema:
    shapes = [with_others(source.schema.empty_table(), kept).schema for source in sources]
    return pa.unify_schemas(shapes, promote_options="default")


def _in_schema(parts: Iterator[pa.Table], kept: frozenset[str], schema: pa.Schema) -> Iterator[pa.Table]:
    empty = schema.empty_table()
    for part in parts:
        if part.num_rows:
            yield pa.concat_tables([empty, with_others(part, kept)], promote_options="default").combine_chunks()


def _stretches(sources: Sequence[SortedFile], stretch: Stretch, restraint: Restraint) -> list[Stretch]:
    if stretch.end_us - stretch.start_us <= DAY_US:
        return [stretch]
    counts: Counter[int] = Counter()
    for source in sources:
        for part in source.parts(ROW_GROUP_ROWS, ["at_us"]):
            days, rows = days_of(part["at_us"].to_numpy())
            counts.update(dict(zip(days.tolist(), rows.tolist(), strict=True)))
            restraint.rest()
    days_in_order = sorted(counts)
    rows_in_order = [counts[day] for day in days_in_order]
    return cut_days(np.array(days_in_order, np.int64), np.array(rows_in_order, np.int64), stretch)


class _Run:
    """What was read of one file and is not merged yet."""

    def __init__(self, parts: Iterator[pa.Table]) -> None:
        self._parts = parts
        self._begin = 0
        self._read: pa.Table | None = None

    def has_rows(self) -> bool:
        """Read on, when nothing is left of what was read; whether there is anything."""
        while self._read is None or self._begin == self._read.num_rows:
            self._read = next(self._parts, None)
            if self._read is None:
                return False
            self._look_at(self._read)
        return True

    def last_key(self) -> Key:
        """Of what was read; what was not is behind it."""
        return self._key(len(self._at_us) - 1)

    def take_until(self, bound: Key) -> pa.Table:
        """What comes up to and with the bound."""
        assert self._read is not None, "has_rows() comes first"
        end = bisect_right(range(self._read.num_rows), bound, lo=self._begin, key=self._key)
        taken = self._read.slice(self._begin, end - self._begin)
        self._begin = end
        return taken

    def _look_at(self, read: pa.Table) -> None:
        self._begin = 0
        subjects = read["subject"].unify_dictionaries().chunk(0)
        self._texts, self._subjects = subjects.dictionary, subjects.indices.to_numpy()
        self._at_us, self._positions, self._rows = (read[name].to_numpy() for name in ("at_us", "position", "row"))

    def _key(self, place: int) -> Key:
        text: str = self._texts[int(self._subjects[place])].as_py()
        return text, int(self._at_us[place]), int(self._positions[place]), int(self._rows[place])


def _merged(runs: Sequence[_Run]) -> Iterator[pa.Table]:
    """All rows in order, in parts of ROW_GROUP_ROWS and somewhat more.

    The least of the runs' last keys bounds what is known of all of them.
    """
    known: list[pa.Table] = []
    rows = 0
    while left := [run for run in runs if run.has_rows()]:
        bound = min(run.last_key() for run in left)
        for run in left:
            known.append(run.take_until(bound))
            rows += known[-1].num_rows
        if rows >= ROW_GROUP_ROWS:
            yield _in_order(known)
            known, rows = [], 0
    if rows:
        yield _in_order(known)


def _in_order(known: Sequence[pa.Table]) -> pa.Table:
    return sorted_rows(pa.concat_tables(known).unify_dictionaries().combine_chunks())
