"""Writes usage to the archive: cut into files by time, sorted, as Parquet."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from services.aggregator.archive.archived_file import ArchivedFile
from services.aggregator.archive.folder import SUFFIX, ArchiveFolder
from services.aggregator.archive.rows import OTHERS, sorted_rows
from services.aggregator.archive.time_cut import ALL_TIMES, DAY_US, Stretch, cut_times
from services.eventstore.event import Position
from services.kernel.failpoint import fail_at

ROW_GROUP_ROWS = 32_768
"""Usage events that are pruned or read together. Of 16,384 to 131,072 it reads small customers in half of the time that
65,536 takes, with a footer half as large as 16,384 needs."""

_DELTAS = ("at_us", "position", "row")
_RANGED = ("at_us", "position", "subject")
_TAIL_BYTES = 8


@dataclass(frozen=True, slots=True)
class Span:
    """Positions of the log behind `after` and up to `until`, whose leaf is `leaf`."""

    after: Position
    until: Position
    leaf: bytes


def write_rows(
    folder: ArchiveFolder, below: str, rows: pa.Table, span: Span, within: Stretch = ALL_TIMES
) -> list[ArchivedFile]:
    """Write all `rows`, recorded in `span` and of times in `within`, as files in the folder `below`.

    Files that hold none are not written. Raises Unavailable; what was written by then belongs to nobody.
    """
    instants = rows["at_us"].to_numpy()
    stretches = cut_times(instants, within) if rows.num_rows else []
    return [_write_file(folder, below, part, span, stretch) for stretch, part in _cut(rows, instants, stretches)]


def footer_of(content: bytes) -> bytes:
    """The Parquet footer at the end of `content`, with its length and the closing magic; raises ValueError."""
    length = int.from_bytes(content[-_TAIL_BYTES:-4], "little")
    if content[-4:] != b"PAR1" or not 0 < length <= len(content) - _TAIL_BYTES:
        raise ValueError("the bytes do not end as a Parquet file does")
    return content[-_TAIL_BYTES - length :]


def _cut(rows: pa.Table, instants: NDArray[np.int64], stretches: list[Stretch]) -> Iterator[tuple[Stretch, pa.Table]]:
    if len(stretches) == 1:
        yield stretches[0], rows
        return
    starts = np.array([stretch.start_us for stretch in stretches])
    places = np.searchsorted(starts, instants, side="right") - 1
    order = np.argsort(places, kind="stable")
    bounds = np.searchsorted(places[order], np.arange(len(stretches) + 1))
    for stretch, (begin, end) in zip(stretches, pairwise(bounds.tolist()), strict=True):
        yield stretch, rows.take(pa.array(order[begin:end]))


def _write_file(folder: ArchiveFolder, below: str, rows: pa.Table, span: Span, stretch: Stretch) -> ArchivedFile:
    content = _parquet(sorted_rows(rows), span)
    footer = sha256(footer_of(content)).digest()
    name = f"{below}/{_label(stretch)}/{span.after:020d}-{span.until:020d}-{uuid4().hex[:12]}{SUFFIX}"
    fail_at("archive.before_file")
    folder.write(name, content)
    fail_at("archive.after_file")
    return ArchivedFile(
        name=name,
        after=span.after,
        until=span.until,
        start_us=stretch.start_us,
        end_us=stretch.end_us,
        rows=rows.num_rows,
        size=len(content),
        sha256=sha256(content).digest(),
        footer_sha256=footer,
        leaf=span.leaf,
    )


def _parquet(rows: pa.Table, span: Span) -> bytes:
    notes = {
        "meterlog.after": str(span.after),
        "meterlog.until": str(span.until),
        "meterlog.leaf": span.leaf.hex(),
    }
    coded = [name for name in rows.column_names if name not in (*_DELTAS, "id", OTHERS)]
    sink = pa.BufferOutputStream()
    pq.write_table(
        rows.replace_schema_metadata(notes),
        sink,
        row_group_size=ROW_GROUP_ROWS,
        compression="zstd",
        use_dictionary=coded,
        column_encoding=dict.fromkeys(_DELTAS, "DELTA_BINARY_PACKED"),
        write_statistics=list(_RANGED),
        write_page_checksum=True,
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _label(stretch: Stretch) -> str:
    """The folder of a stretch: 2024-02-29, or 2024-02-01--2024-03-01 for more than a day, or any."""
    if stretch == ALL_TIMES:
        return "any"
    first, end = (np.datetime_as_string(np.datetime64(us // DAY_US, "D")) for us in (stretch.start_us, stretch.end_us))
    return str(first) if stretch.end_us - stretch.start_us == DAY_US else f"{first}--{end}"
