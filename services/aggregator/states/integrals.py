"""Levels in order of time, integrated over windows: exact, in units times microseconds. Pure."""

from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.aggregations.grouping import group
from services.aggregator.questions.slices import Slices
from services.aggregator.states.decimal_column import NUMBER

PIECES_MAX = 500_000
"""Pieces of levels, one for each window that a level lasts in, that are held at once."""

_LEVEL = pa.decimal256(38, 12)
_DURATION = pa.decimal256(19, 0)

NO_INTEGRALS = pa.table(
    {
        "window": pa.array([], pa.int64()),
        "subject": pa.array([], pa.utf8()),
        "group_text": pa.array([], pa.utf8()),
        "number": pa.array([], NUMBER),
    }
)

Integers = npt.NDArray[np.int64]


def integrals(ordered: pa.Table, slices: Slices, end_us: int) -> Iterator[pa.Table]:
    """For each window, subject and group_text the integral of the level until `end_us` (column `number`).

    `ordered` is in the order of `code` (one number for each subject and group), then time: each row sets the level from
    its `at_us` until the next row of its code, or `end_us`. A row that is no event (`is_event`) says nothing where its
    level lasts no time.
    """
    starts, stops = _lasting(ordered, end_us)
    is_silent = (stops == starts) & ~ordered["is_event"].to_numpy()
    edges = np.array(slices.edges_us, np.int64)
    from_window = np.searchsorted(edges, starts, side="right") - 1
    until_window = np.where(stops > starts, np.searchsorted(edges, stops, side="left"), from_window + 1)
    windows_each = np.where(is_silent, 0, until_window - from_window)
    for rows in _runs(windows_each):
        pieces = _pieces(rows, from_window, windows_each)
        yield _integrated(ordered, pieces, edges, starts, stops)


def _lasting(ordered: pa.Table, end_us: int) -> tuple[Integers, Integers]:
    """When each level begins and ends; one of 0, or one that begins behind the end, lasts no time."""
    codes, starts = ordered["code"].to_numpy(), ordered["at_us"].to_numpy()
    nexts = np.append(starts[1:], end_us)
    is_last = np.append(codes[1:] != codes[:-1], True)
    stops = np.minimum(np.where(is_last, end_us, nexts), end_us)
    is_zero = pc.equal(ordered["number"], pa.scalar(Decimal(0), NUMBER)).to_numpy()
    return starts, np.where(is_zero, starts, np.maximum(stops, starts))


def _runs(windows_each: Integers) -> Iterator[Integers]:
    """Rows in runs of about PIECES_MAX pieces."""
    turns = np.cumsum(windows_each) // PIECES_MAX
    for run in np.split(np.arange(len(turns)), np.flatnonzero(np.diff(turns)) + 1):
        if len(run):
            yield run


def _pieces(rows: Integers, from_window: Integers, windows_each: Integers) -> tuple[Integers, Integers]:
    """The row and the window of every piece of these rows."""
    counts = windows_each[rows]
    row_of = np.repeat(rows, counts)
    place = np.arange(len(row_of)) - np.repeat(np.cumsum(counts) - counts, counts)
    return row_of, from_window[row_of] + place


def _integrated(
    ordered: pa.Table, pieces: tuple[Integers, Integers], edges: Integers, starts: Integers, stops: Integers
) -> pa.Table:
    row_of, windows = pieces
    last_us = np.minimum(stops[row_of], edges[windows + 1])
    durations = np.maximum(last_us - np.maximum(starts[row_of], edges[windows]), 0)
    levels = ordered["number"].cast(_LEVEL).take(pa.array(row_of))
    codes = ordered["code"].to_numpy()
    table = pa.table(
        {
            "window": pa.array(windows, pa.int64()),
            "code": pa.array(codes[row_of]),
            "number": pc.multiply(levels, pa.array(durations).cast(_DURATION)).cast(NUMBER),
        }
    )
    added_up = group(table, ["window", "code"], {"number": "sum"})
    whose = ordered.select(["subject", "group_text"]).take(
        pa.array(np.searchsorted(codes, added_up["code"].to_numpy()))
    )
    return whose.add_column(0, "window", added_up["window"]).append_column("number", added_up["number"])
