"""Rows gathered into batches that are sent, and acknowledged, as one."""

from collections.abc import Generator
from dataclasses import dataclass

from meterlog.client.outbox import size_of
from meterlog.ingest.v1.ingest_pb2 import UsageEvent
from services.cli.importing.conversion import convert
from services.cli.importing.mapping import UsageMapping
from services.cli.importing.row import BrokenRow, Problem
from services.cli.importing.usage_file import UsageFile

BATCH_ROWS_MAX = 1000
BATCH_BYTES_MAX = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows: the usage events to send with the line of each, and the problems of the rows that have none.

    `next_row` is the number of the first row after the batch, `read_bytes` how much of the file was read by then.
    """

    events: tuple[UsageEvent, ...]
    lines: tuple[int, ...]
    problems: tuple[Problem, ...]
    next_row: int
    read_bytes: int


def read_batches(file: UsageFile, mapping: UsageMapping, first_row: int) -> Generator[Batch, None, None]:
    """The rows from number `first_row` on, in batches of at most BATCH_ROWS_MAX rows and about BATCH_BYTES_MAX bytes.

    The last batch may be empty; it is there so that the end of the file is acknowledged too.
    """
    open_batch = _OpenBatch(first_row)
    for row in file.rows(mapping):
        if row.number < first_row:
            continue
        if isinstance(row, BrokenRow):
            open_batch.add_problem(row.problem)
        else:
            open_batch.add(row.line, convert(row, mapping, file.path.name))
        if open_batch.is_full:
            yield open_batch.closed(file.read_bytes)
            open_batch = _OpenBatch(row.number + 1)
    yield open_batch.closed(file.size_bytes)


class _OpenBatch:
    def __init__(self, first_row: int) -> None:
        self._first_row = first_row
        self._events: list[UsageEvent] = []
        self._lines: list[int] = []
        self._problems: list[Problem] = []
        self._size_bytes = 0

    def add(self, line: int, converted: UsageEvent | Problem) -> None:
        if isinstance(converted, Problem):
            self.add_problem(converted)
            return
        self._events.append(converted)
        self._lines.append(line)
        self._size_bytes += size_of(converted)

    def add_problem(self, problem: Problem) -> None:
        self._problems.append(problem)

    @property
    def is_full(self) -> bool:
        return self._rows >= BATCH_ROWS_MAX or self._size_bytes >= BATCH_BYTES_MAX

    def closed(self, read_bytes: int) -> Batch:
        return Batch(
            tuple(self._events), tuple(self._lines), tuple(self._problems), self._first_row + self._rows, read_bytes
        )

    @property
    def _rows(self) -> int:
        return len(self._events) + len(self._problems)
