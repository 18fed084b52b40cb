"""Usage events in columns: Arrow tables cut into requests, and what became of the rows. Only this needs pyarrow."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meterlog.client.errors import WrongType, WrongValue
from meterlog.client.result import OUTCOMES, UsageOutcome
from meterlog.ingest.v1 import ingest_pb2

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_REQUEST_MAX = 50_000
ARROW_BYTES_PER_REQUEST_MAX = 12 * 1024 * 1024
"""A request stays below the 16 MiB that the services receive."""
EXCEPTIONS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class RowException:
    """A row that was not plainly recorded: its number in the whole of what was sent, from 0, and why."""

    row: int
    outcome: UsageOutcome
    position: int = 0
    reason: str = ""
    field: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class ColumnsResult:
    """What became of usage events in columns; `exceptions` are at most EXCEPTIONS_MAX of those not plainly recorded."""

    recorded: int = 0
    duplicate: int = 0
    conflict: int = 0
    invalid: int = 0
    not_recorded: int = 0
    exceptions: tuple[RowException, ...] = ()
    last_position: int = 0

    @property
    def rows(self) -> int:
        """How many usage events were answered."""
        return self.recorded + self.duplicate + self.conflict + self.invalid + self.not_recorded

    def after(self, response: ingest_pb2.RecordUsageColumnsResponse) -> "ColumnsResult":
        """The result with that of the next request."""
        room = EXCEPTIONS_MAX - len(self.exceptions)
        found = [_exception(each, self.rows) for each in response.exceptions[:room]]
        return ColumnsResult(
            self.recorded + response.recorded_count,
            self.duplicate + response.duplicate_count,
            self.conflict + response.conflict_count,
            self.invalid + response.invalid_count,
            self.not_recorded + response.not_recorded_count,
            (*self.exceptions, *found),
            max([self.last_position, *(receipt.position for receipt in response.receipts)]),
        )


def encoded_requests(columns: object, *, in_one: bool = False) -> Iterator[tuple[bytes, int]]:
    """Arrow IPC streams that each fit into a request, with their rows; raises WrongType or WrongValue.

    `columns` is a pyarrow Table, RecordBatch, RecordBatchReader, or an iterable of record batches. With `in_one` all of
    it must fit into one request.
    """
    pieces = _pieces(columns)
    if not in_one:
        for piece in pieces:
            yield from _encoded(piece)
        return
    all_of_it = list(pieces)
    if len(all_of_it) > 1:
        all_of_it = [_joined(all_of_it)]
    for piece in all_of_it:
        encoded = list(_encoded(piece))
        if len(encoded) > 1:
            raise WrongValue(
                f"an atomic request holds at most {ROWS_PER_REQUEST_MAX} rows and {ARROW_BYTES_PER_REQUEST_MAX} bytes;"
                " send less, or not atomically"
            )
        yield from encoded


def _pieces(columns: object) -> "Iterator[pa.RecordBatch]":
    pa = _pyarrow()
    if isinstance(columns, pa.RecordBatch):
        return iter([columns])
    if isinstance(columns, pa.Table):
        return iter(columns.combine_chunks().to_batches())
    if isinstance(columns, Iterable) and not isinstance(columns, str | bytes):
        return _record_batches(columns, pa)
    raise WrongType(
        f"columns are a {type(columns).__name__}; use a pyarrow Table or RecordBatch, or an iterable of them"
    )


def _record_batches(columns: Iterable[Any], pa: Any) -> "Iterator[pa.RecordBatch]":
    for each in columns:
        if isinstance(each, pa.Table):
            yield from each.combine_chunks().to_batches()
        elif isinstance(each, pa.RecordBatch):
            yield each
        else:
            raise WrongType(f"columns hold a {type(each).__name__}; use pyarrow record batches")


def _encoded(batch: "pa.RecordBatch") -> Iterator[tuple[bytes, int]]:
    for first in range(0, batch.num_rows, ROWS_PER_REQUEST_MAX):
        yield from _fitting(batch.slice(first, ROWS_PER_REQUEST_MAX))


def _fitting(batch: "pa.RecordBatch") -> Iterator[tuple[bytes, int]]:
    encoded = _ipc(_with_small_dictionaries(batch))
    if len(encoded) <= ARROW_BYTES_PER_REQUEST_MAX:
        yield encoded, batch.num_rows
    elif batch.num_rows == 1:
        raise WrongValue(f"a usage event takes {len(encoded)} bytes; a request holds {ARROW_BYTES_PER_REQUEST_MAX}")
    else:
        half = batch.num_rows // 2
        yield from _fitting(batch.slice(0, half))
        yield from _fitting(batch.slice(half))


def _with_small_dictionaries(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    """A slice carries the whole dictionary of what it was cut from; one larger than the slice is left behind."""
    pa = _pyarrow()
    columns = [
        column.cast(column.type.value_type).dictionary_encode()
        if pa.types.is_dictionary(column.type) and len(column.dictionary) > batch.num_rows
        else column
        for column in batch.columns
    ]
    fields = [field.with_type(column.type) for field, column in zip(batch.schema, columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, batch.schema.metadata))


def _joined(batches: "list[pa.RecordBatch]") -> "pa.RecordBatch":
    pa = _pyarrow()
    try:
        table = pa.Table.from_batches(batches).combine_chunks()
    except pa.ArrowInvalid as error:
        raise WrongValue(f"the record batches differ in their columns: {error}") from error
    return table.to_batches()[0]


def _ipc(batch: "pa.RecordBatch") -> bytes:
    pa = _pyarrow()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _exception(row: ingest_pb2.RowResult, rows_before: int) -> RowException:
    result = row.result
    outcome = OUTCOMES.get(result.outcome, UsageOutcome.UNDELIVERED)
    return RowException(rows_before + row.row, outcome, result.position, result.reason, result.field, result.message)


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise WrongType("recording columns needs pyarrow; install it: pip install pyarrow") from error
    return pa
