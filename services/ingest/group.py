"""The usage events of one partition that are recorded together, and what is known of each so far. Pure.

Every column has one entry a usage event. Keys are 128 bits of (source, id), contents 64 bits of what is said under it.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from meterlog.events.v1.usage_pb2 import UsageRecorded
from services.eventstore.usage_batch import USAGE_EVENTS_MAX, UsageBatchTooLarge, encode_usage
from services.ingest.dedupe_index import Known
from services.ingest.recording import Commitment, Outcome, Recording, Written
from services.ingest.same_keys import first_rows
from services.ingest.usage_columns import compacted
from services.kernel.errors import InvalidInput

PIECE_BYTES = 2 * 1024 * 1024
"""Bytes of columns that one event of the log is tried with: what one of 900 KiB mostly holds once it is compressed."""

_ORDINARY_ROW_BYTES = 256

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of a group that fit into one event of the log, and that event's message."""

    rows: Rows
    message: UsageRecorded


class Group:
    """What the log has counts before what the group has, and of the group's own the first counts."""

    def __init__(
        self,
        batch: pa.RecordBatch,
        keys: NDArray[np.void],
        contents: NDArray[np.uint64],
        commitment: Commitment = Commitment.EACH,
    ) -> None:
        """The columns belong to the group from now on."""
        count = batch.num_rows
        self.weight = max(count, batch.nbytes // _ORDINARY_ROW_BYTES)
        """The rows, or what they come to in rows of ordinary size."""
        self.keys = keys
        self.contents = contents
        self._batch = batch
        self._commitment = commitment
        self._firsts = first_rows(keys)
        self._is_first = None if self._firsts is None else self._firsts == np.arange(count)
        self._known = Known(np.zeros(count, np.bool_), np.zeros(count, np.uint64), np.zeros(count, np.int64))
        self._is_recorded = np.zeros(count, np.bool_)
        self._positions = np.zeros(count, np.int64)
        self._written: list[Written] = []
        self._ahead: list[Piece] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def encode_ahead(self) -> None:
        """Make the events of the log as if nothing were known yet, which is nearly always so; any thread may do it."""
        if self._firsts is None and self._commitment is Commitment.EACH:
            self._ahead = self._pieces(np.arange(len(self)))

    def learn(self, known: Known) -> None:
        """Take what the dedupe index knows of the group's keys, in place of what it knew before."""
        self._known = known

    def missing(self) -> Rows:
        """The rows that have to be written: the first of each key that the index does not know; none where a
        conflict, or a malformed neighbour, stops an atomic batch.
        """
        if self._is_stopped():
            return np.zeros(0, np.int64)
        is_missing = ~self._known.is_known
        return np.flatnonzero(is_missing if self._is_first is None else is_missing & self._is_first)

    def pieces(self, rows: Rows) -> list[Piece]:
        """The rows as events of the log, as few as hold them; none for no rows.

        Raises InvalidInput (ATOMIC_TOO_LARGE) when the rows of an atomic batch do not fit into one.
        """
        if self._commitment is Commitment.ALL:
            return self._whole(rows)
        if self._ahead is not None and len(rows) == len(self):
            return self._ahead
        return self._pieces(rows)

    def mark_written(self, rows: Rows, written: Written) -> None:
        """The rows are durable in this event of the log."""
        self._is_recorded[rows] = True
        self._positions[rows] = written.position
        self._written.append(written)

    def recording(self) -> Recording:
        """What became of every row, once nothing is missing."""
        if self._is_recorded.all():
            outcomes = np.full(len(self), Outcome.RECORDED, np.uint8)
            return Recording(outcomes, self._positions, self._written, is_plain=len(self._written) == 1)
        is_same = self._is_same()
        is_held = self._known.is_known | self._of_first(self._is_recorded)
        outcomes = np.where(is_same, np.where(is_held, Outcome.DUPLICATE, Outcome.NOT_RECORDED), Outcome.CONFLICT)
        outcomes[self._is_recorded] = Outcome.RECORDED
        positions = np.where(self._known.is_known, self._known.positions, self._of_first(self._positions))
        positions[self._is_recorded] = self._positions[self._is_recorded]
        return Recording(outcomes.astype(np.uint8), positions, self._written)

    def _is_stopped(self) -> bool:
        match self._commitment:
            case Commitment.NONE:
                return True
            case Commitment.ALL:
                return not self._is_same().all()
            case _:
                return False

    def _is_same(self) -> NDArray[np.bool_]:
        """Whether each row says what the first under its key says."""
        first_contents = np.where(self._known.is_known, self._known.contents, self._of_first(self.contents))
        is_same: NDArray[np.bool_] = self.contents == first_contents
        return is_same | self._is_recorded

    def _of_first(self, column: NDArray) -> NDArray:  # type: ignore[type-arg]  # of any column
        return column if self._firsts is None else column[self._firsts]

    def _pieces(self, rows: Rows) -> list[Piece]:
        if not len(rows):
            return []
        batch = self._of_rows(rows)
        count = max(-(-batch.nbytes // PIECE_BYTES), -(-len(rows) // USAGE_EVENTS_MAX))
        if count == 1:
            return _encoded(rows, batch, np.arange(len(rows)))
        return [piece for part in np.array_split(np.arange(len(rows)), count) for piece in _encoded(rows, batch, part)]

    def _whole(self, rows: Rows) -> list[Piece]:
        if not len(rows):
            return []
        try:
            return [Piece(rows, encode_usage(self._of_rows(rows)))]
        except UsageBatchTooLarge as error:
            raise InvalidInput(
                f"an atomic batch has to fit into one event of the log, and {len(rows)} usage events do not: "
                f"{error.message}, or send it without atomic",
                field="atomic",
                reason="ATOMIC_TOO_LARGE",
            ) from error

    def _of_rows(self, rows: Rows) -> pa.RecordBatch:
        return self._batch if len(rows) == len(self) else compacted(self._batch.take(pa.array(rows)))


def _encoded(rows: Rows, batch: pa.RecordBatch, part: Rows) -> list[Piece]:
    """The part, of neighbouring places in `rows`, as one event, or as two when it does not fit."""
    if not len(part):
        return []
    is_whole = len(part) == batch.num_rows
    columns = batch if is_whole else compacted(batch.slice(part[0], len(part)))
    try:
        return [Piece(rows[part], encode_usage(columns))]
    except UsageBatchTooLarge:
        if len(part) == 1:
            raise
    middle = len(part) // 2
    return [*_encoded(rows, batch, part[:middle]), *_encoded(rows, batch, part[middle:])]
