"""Usage events in columns that are sent, and acknowledged, as one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from services.cli.importing.row import Problem

COLUMN_ROWS_MAX: Final = 10_000
COLUMN_BYTES_MAX: Final = 8 * 1024 * 1024
"""Text of a file that is gathered before it is sent, about."""


@dataclass(frozen=True, slots=True)
class ColumnBatch:
    """Consecutive rows of a file: the usage events to send with the line of each, and the problems of the others.

    `columns` has the columns that RecordUsageColumns takes. `rows` counts all rows, broken ones included; `read_bytes`
    is how much of the file was read by then.
    """

    columns: pa.RecordBatch
    lines: Sequence[int]
    problems: tuple[Problem, ...]
    rows: int
    read_bytes: int


def not_done_yet(batches: Iterator[ColumnBatch], rows_done: int) -> Iterator[ColumnBatch]:
    """The batches after those whose rows an earlier run had acknowledged; the same file makes the same batches."""
    for batch in batches:
        if rows_done >= batch.rows > 0:
            rows_done -= batch.rows
        else:
            yield batch
