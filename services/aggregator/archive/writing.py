"""Writes sorted usage to the archive, cut into files by time."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise

import numpy as np
import pyarrow as pa

from services.aggregator.archive.archived_file import ArchivedFile, Span
from services.aggregator.archive.file_writer import FileWriter
from services.aggregator.archive.folder import ArchiveFolder
from services.aggregator.archive.restraint import Restraint
from services.aggregator.archive.rows import sorted_rows
from services.aggregator.archive.taking import Pool
from services.aggregator.archive.time_cut import ALL_TIMES, Stretch, cut_times

HELD_ROWS_MAX = 131_072
"""Rows that the writers of one `write_sorted` hold together before the fullest of them writes a small row group."""


def write_pool(
    folder: ArchiveFolder, below: str, pool: Pool, restraint: Restraint, within: Stretch = ALL_TIMES
) -> list[ArchivedFile]:
    """Write the usage of a pool, all of times in `within`, as files in the folder `below`.

    Files that would hold none are not written. Raises Unavailable; what was written by then belongs to nobody.
    """
    if pool.rows is None:
        return []
    stretches = cut_times(pool.rows["at_us"].to_numpy(), within)
    rows = sorted_rows(pool.rows)
    restraint.rest()
    return write_sorted(folder, below, [rows], rows.schema, stretches, pool.span, restraint)


def write_sorted(
    folder: ArchiveFolder,
    below: str,
    parts: Iterable[pa.Table],
    schema: pa.Schema,
    stretches: Sequence[Stretch],
    span: Span,
    restraint: Restraint,
) -> list[ArchivedFile]:
    """Write parts that come in the order of `sorted_rows`, each behind the ones before: one file a stretch.

    The stretches, in their order, share no instant and hold the times of all rows, and none is without. Raises
    Unavailable, and what the parts raise; what was written by then belongs to nobody.
    """
    writers: list[FileWriter] = []
    with ExitStack() as unfinished:
        for stretch in stretches:
            writers.append(FileWriter(folder, below, span, stretch, schema, restraint))
            unfinished.callback(writers[-1].abandon)
        for part in parts:
            for writer, rows in zip(writers, _cut(part, stretches), strict=True):
                writer.add(rows)
            _bound_held(writers)
        return [writer.finish() for writer in writers]


def _bound_held(writers: Sequence[FileWriter]) -> None:
    while len(writers) > 1 and sum(writer.held_rows for writer in writers) > HELD_ROWS_MAX:
        max(writers, key=lambda writer: writer.held_rows).flush()


def _cut(rows: pa.Table, stretches: Sequence[Stretch]) -> Iterator[pa.Table]:
    """The rows of each stretch, in their order."""
    if len(stretches) == 1:
        yield rows
        return
    starts = np.array([stretch.start_us for stretch in stretches])
    places = np.searchsorted(starts, rows["at_us"].to_numpy(), side="right") - 1
    order = np.argsort(places, kind="stable")
    bounds = np.searchsorted(places[order], np.arange(len(stretches) + 1))
    for begin, end in pairwise(bounds.tolist()):
        yield rows.take(pa.array(order[begin:end]))
