"""Reads usage from one file of the archive: only the row groups and the columns that are asked for."""

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.aggregator.archive.archived_file import ArchivedFile
from services.aggregator.archive.file_writer import footer_of
from services.aggregator.archive.folder import ArchiveFolder
from services.aggregator.archive.rows import OTHERS, PLACE, property_of
from services.aggregator.usage.usage_reading import Extent, is_within
from services.aggregator.usage.usage_table import HOUR_US, floor_hours
from services.eventstore.event import Position
from services.eventstore.usage_batch import PROPERTY_PREFIX

LAYOUTS_MAX = 2_048
"""Footers that are kept in memory, those that were used last."""
FOOTER_GUESS_BYTES = 64 * 1024
READ_ROW_GROUPS = 16
"""Row groups that are decoded at once; memory holds so many before they are filtered."""


class Unreadable(Exception):
    """A file of the archive is missing, is not what was listed, or its storage does not answer."""


@dataclass(frozen=True, slots=True)
class _RowGroup:
    """The least and the greatest value of a row group; texts are None where the file does not say."""

    first_subject: str | None
    last_subject: str | None
    first_us: int
    last_us: int
    first_position: int

    def may_hold(self, extent: Extent, until: Position) -> bool:
        if self.last_us < extent.start_us or self.first_us >= extent.end_us or self.first_position > until:
            return False
        if extent.hours is not None:
            first = self.first_us - self.first_us % HOUR_US
            if bisect_right(extent.hours, self.last_us) <= bisect_left(extent.hours, first):
                return False
        if not extent.subjects or self.first_subject is None or self.last_subject is None:
            return True
        return any(self.first_subject <= subject <= self.last_subject for subject in extent.subjects)


@dataclass(frozen=True, slots=True)
class _Layout:
    metadata: pq.FileMetaData
    columns: frozenset[str]
    groups: tuple[_RowGroup | None, ...]


class FileReader:
    """Reads files of one folder. Any thread may read; a footer is read, and compared with what was listed, once."""

    def __init__(self, folder: ArchiveFolder) -> None:
        self._folder = folder
        self._layouts: OrderedDict[str, _Layout] = OrderedDict()
        self._keeping = Lock()

    def read(self, file: ArchivedFile, extent: Extent, columns: Sequence[str], until: Position) -> pa.Table | None:
        """The usage events of `extent` in a file, recorded up to `until`, as `usage_tables` gives them.

        None when there are none. Raises Unreadable, and then gives nothing of the file.
        """
        try:
            with self._folder.open_file(file.name) as source:
                layout = self._layout(file, source)
                groups = enumerate(layout.groups)
                chosen = [number for number, group in groups if group is not None and group.may_hold(extent, until)]
                parts = list(_chosen_rows(layout, source, chosen, extent, columns, until)) if chosen else []
        except (OSError, ValueError, pa.ArrowException) as error:
            raise Unreadable(f"{file.name}: {error}") from error
        return pa.concat_tables(parts).unify_dictionaries() if parts else None

    def _layout(self, file: ArchivedFile, source: pa.NativeFile) -> _Layout:
        if source.size() != file.size:
            raise ValueError(f"it has {source.size()} bytes, not {file.size}")
        with self._keeping:
            known = self._layouts.get(file.name)
            if known is not None:
                self._layouts.move_to_end(file.name)
                return known
        layout = _read_layout(file, source)
        with self._keeping:
            self._layouts[file.name] = layout
            while len(self._layouts) > LAYOUTS_MAX:
                self._layouts.popitem(last=False)
        return layout


def _read_layout(file: ArchivedFile, source: pa.NativeFile) -> _Layout:
    guess = min(file.size, FOOTER_GUESS_BYTES)
    tail = source.read_at(guess, file.size - guess)
    needed = int.from_bytes(tail[-8:-4], "little") + 8
    if needed > guess:
        tail = source.read_at(min(needed, file.size), file.size - min(needed, file.size))
    footer = footer_of(tail)
    if sha256(footer).digest() != file.footer_sha256:
        raise ValueError("its footer is not the one that was written")
    metadata = pq.read_metadata(pa.BufferReader(b"PAR1" + footer))
    groups = tuple(_row_group(metadata.row_group(number)) for number in range(metadata.num_row_groups))
    return _Layout(metadata, frozenset(metadata.schema.to_arrow_schema().names), groups)


def _row_group(group: pq.RowGroupMetaData) -> _RowGroup | None:
    """What a row group says of its rows; None when it has none, as Parquet allows."""
    if not group.num_rows:
        return None
    columns = {group.column(number).path_in_schema: number for number in range(group.num_columns)}
    statistics = {name: group.column(columns[name]).statistics for name in ("at_us", "position", "subject")}
    subject = statistics["subject"]
    has_bounds = subject is not None and subject.has_min_max
    return _RowGroup(
        subject.min if has_bounds else None,
        subject.max if has_bounds else None,
        statistics["at_us"].min,
        statistics["at_us"].max,
        statistics["position"].min,
    )


def _chosen_rows(
    layout: _Layout,
    source: pa.NativeFile,
    groups: Sequence[int],
    extent: Extent,
    columns: Sequence[str],
    until: Position,
) -> Iterator[pa.Table]:
    # Metadata that is passed in is not read again; the checksums of pages are compared as they are read.
    parquet = pq.ParquetFile(source, metadata=layout.metadata, page_checksum_verification=True)
    stored = _stored_columns(layout, extent, columns)
    for start in range(0, len(groups), READ_ROW_GROUPS):
        # Arrow's threads are few, and everybody's: whoever asks for little would wait for who asks for much.
        rows = parquet.read_row_groups(groups[start : start + READ_ROW_GROUPS], columns=stored, use_threads=False)
        placed = rows if extent.hours is None else _with_hours(rows)
        chosen = rows.filter(pc.and_(is_within(placed, extent), pc.less_equal(rows["position"], until)))
        if chosen.num_rows:
            yield _as_usage(chosen, columns)


def _stored_columns(layout: _Layout, extent: Extent, columns: Sequence[str]) -> list[str]:
    asked = [*PLACE, *columns, *(["subject"] if extent.subjects else []), *(["type"] if extent.types else [])]
    if any(name.startswith(PROPERTY_PREFIX) for name in columns):
        asked.append(OTHERS)
    return [name for name in dict.fromkeys(asked) if name in layout.columns]


def _as_usage(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The columns that `usage_tables` would give."""
    usage = rows.select(list(PLACE))
    for name in columns:
        if name not in usage.column_names:
            is_property = name.startswith(PROPERTY_PREFIX)
            usage = usage.append_column(name, property_of(rows, name) if is_property else rows[name])
    return _with_hours(usage)


def _with_hours(usage: pa.Table) -> pa.Table:
    return usage.append_column("hour_us", floor_hours(usage["at_us"]))
