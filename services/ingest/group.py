"""The usage events of one partition that are recorded together, and what is known of each so far. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meterlog.events.v1.usage_pb2 import UsageRecorded
from services.eventstore.event import Position
from services.eventstore.usage_batch import UsageBatchTooLarge, encode_usage
from services.ingest.content import content_digests, key_digests
from services.ingest.dedupe_index import entry_content, entry_position
from services.ingest.recording import Outcome, Recording, Written
from services.ingest.usage_columns import UsageColumns

_ORDINARY_ROW_BYTES = 256


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of a group that fit into one event of the log, and that event's message."""

    rows: Sequence[int]
    message: UsageRecorded


class Group:
    """What the log has counts before what the group has, and of the group's own the first counts."""

    def __init__(self, columns: UsageColumns) -> None:
        self._columns = columns
        self._batch = columns.batch()
        self.weight = max(len(columns), self._batch.nbytes // _ORDINARY_ROW_BYTES)
        """The rows, or what they come to in rows of ordinary size."""
        self.keys = key_digests(self._batch)
        self.contents = content_digests(self._batch)
        self._first_rows = _first_rows(self.keys)
        self._entries: Mapping[bytes, bytes] = {}
        self._written: list[Written] = []
        self._recorded: dict[int, Position] = {}

    def learn(self, entries: Mapping[bytes, bytes]) -> None:
        """Take what the dedupe index knows of the group's keys, in place of what it knew before."""
        self._entries = entries

    def missing(self) -> Sequence[int]:
        """The rows that have to be written: the first of each key that the index does not know."""
        if not self._entries:
            return list(self._first_rows.values())
        return [row for key, row in self._first_rows.items() if key not in self._entries]

    def pieces(self, rows: Sequence[int]) -> list[Piece]:
        """The rows as events of the log, as few as hold them; none for no rows."""
        if not rows:
            return []
        batch = self._batch if len(rows) == len(self._columns) else self._columns.take(rows).batch()
        try:
            return [Piece(rows, encode_usage(batch))]
        except UsageBatchTooLarge:
            if len(rows) == 1:
                raise
        middle = len(rows) // 2
        return [*self.pieces(rows[:middle]), *self.pieces(rows[middle:])]

    def mark_written(self, rows: Sequence[int], written: Written) -> None:
        """The rows are durable in this event of the log."""
        self._recorded.update(dict.fromkeys(rows, written.position))
        self._written.append(written)

    def recording(self) -> Recording:
        """What became of every row, once nothing is missing."""
        count = len(self.keys)
        if len(self._recorded) == count and len(self._written) == 1:
            return Recording([Outcome.RECORDED] * count, [self._written[0].position] * count, self._written)
        answers = [self._answer(row) for row in range(count)]
        return Recording([outcome for outcome, _ in answers], [position for _, position in answers], self._written)

    def _answer(self, row: int) -> tuple[Outcome, Position]:
        if row in self._recorded:
            return Outcome.RECORDED, self._recorded[row]
        content, position = self._first_recording(self.keys[row])
        return (Outcome.DUPLICATE if content == self.contents[row] else Outcome.CONFLICT), position

    def _first_recording(self, key: bytes) -> tuple[bytes, Position]:
        entry = self._entries.get(key)
        if entry is not None:
            return entry_content(entry), entry_position(entry)
        first = self._first_rows[key]
        return self.contents[first], self._recorded[first]


def _first_rows(keys: Sequence[bytes]) -> dict[bytes, int]:
    rows = dict(zip(keys, range(len(keys)), strict=True))
    if len(rows) == len(keys):
        return rows
    rows = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, row)
    return rows
