"""CloudEvents of a file, gathered into batches that are sent, and acknowledged, as one."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Final

from meterlog.client.cloud_event import EventName
from services.cli.importing.cloud_event_rows import CloudEventRow, cloud_event_rows
from services.cli.importing.row import BrokenRow, Problem
from services.cli.importing.usage_file import UsageFile

BATCH_ROWS_MAX: Final = 1000
BATCH_CHARACTERS_MAX: Final = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CloudEventBatch:
    """Consecutive rows: the CloudEvents to send as they were written, with name and line of each, and the broken rows.

    `read_bytes` is how much of the file was read by then.
    """

    texts: tuple[str, ...]
    names: tuple[EventName, ...]
    lines: tuple[int, ...]
    problems: tuple[Problem, ...]
    read_bytes: int


def cloud_event_batches(file: UsageFile, first_row: int) -> Generator[CloudEventBatch, None, None]:
    """The rows from number `first_row` on, in batches of at most BATCH_ROWS_MAX rows and about BATCH_CHARACTERS_MAX.

    The last batch may be empty; it is there so that the end of the file is acknowledged too. Raises FileRefused.
    """
    gathered: list[CloudEventRow | BrokenRow] = []
    characters = 0
    for row in cloud_event_rows(file.content):
        if row.number < first_row:
            continue
        gathered.append(row)
        characters += len(row.text) if isinstance(row, CloudEventRow) else 0
        if len(gathered) >= BATCH_ROWS_MAX or characters >= BATCH_CHARACTERS_MAX:
            yield _batch(gathered, file.read_bytes)
            gathered, characters = [], 0
    yield _batch(gathered, file.size_bytes)


def _batch(rows: Sequence[CloudEventRow | BrokenRow], read_bytes: int) -> CloudEventBatch:
    events = [row for row in rows if isinstance(row, CloudEventRow)]
    return CloudEventBatch(
        tuple(row.text for row in events),
        tuple(row.name for row in events),
        tuple(row.line for row in events),
        tuple(row.problem for row in rows if isinstance(row, BrokenRow)),
        read_bytes,
    )
