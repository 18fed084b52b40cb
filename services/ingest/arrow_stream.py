"""Reads an Arrow IPC stream from outside: what it would come to is added up first, and only then is it decompressed."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from services.ingest.arrow_message import Kind, MessageHead, MessageMalformed, message_head
from services.kernel.errors import InvalidInput

FIELD: Final = "arrow_ipc"
USAGE_EVENTS_MAX: Final = 50_000
BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes once decompressed, of all messages; a dictionary that is added to counts again with each addition."""
MESSAGES_MAX: Final = 2_000
DICTIONARY_ENTRIES_MAX: Final = 1_000_000
"""Entries of all dictionaries of all record batches: each batch has them looked through again."""

_ENDS: Final = (b"\xff\xff\xff\xff\0\0\0\0", b"\0\0\0\0")
_OPTIONS: Final = pa.ipc.IpcReadOptions(use_threads=False)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a stream comes to: rows of all record batches, and bytes once decompressed."""

    rows: int
    size_bytes: int


def stream_sizes(content: bytes) -> Sizes:
    """Add up what the messages say of themselves, without reading what they carry; takes microseconds a message.

    Raises InvalidInput when this is no whole stream (ARROW_UNREADABLE, ARROW_TRUNCATED) or too large (ARROW_TOO_LARGE,
    BATCH_SIZE).
    """
    rows = size_bytes = 0
    dictionaries: Counter[int] = Counter()
    for head in _heads(content):
        if head.kind is Kind.RECORD_BATCH:
            rows += head.rows
            size_bytes += head.size_bytes
        elif head.kind is Kind.DICTIONARY:
            dictionaries[head.dictionary] = head.size_bytes + (dictionaries[head.dictionary] if head.is_delta else 0)
            size_bytes += dictionaries[head.dictionary]
        if size_bytes > BYTES_MAX:
            raise _refused(f"it is more than {BYTES_MAX} bytes once decompressed; send less at once", "ARROW_TOO_LARGE")
    if not 1 <= rows <= USAGE_EVENTS_MAX:
        raise _refused(f"it has {rows} rows; send 1 to {USAGE_EVENTS_MAX}", "BATCH_SIZE")
    return Sizes(rows, size_bytes)


def stream_schema(content: bytes) -> pa.Schema:
    """The schema of a stream; raises InvalidInput."""
    try:
        with pa.ipc.open_stream(content, options=_OPTIONS) as reader:
            _require_readable(reader.schema)
            return reader.schema
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(error) from error


def read_batches(content: bytes) -> Sequence[pa.RecordBatch]:
    """The record batches with rows, every buffer, index and text of them checked; the sizes must have been.

    Raises InvalidInput (ARROW_UNREADABLE, ARROW_TOO_LARGE).
    """
    try:
        with pa.ipc.open_stream(content, options=_OPTIONS) as reader:
            return list(_checked(reader))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(error) from error


def _require_readable(schema: pa.Schema) -> None:
    """Raises ValueError when a name is not UTF-8: Arrow finds that out only when somebody looks."""
    for field in schema:
        f"{field.name} {field.type}".encode()
        if pa.types.is_timestamp(field.type):
            (field.type.tz or "").encode()


def _checked(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    entries = 0
    for batch in batches:
        batch.validate()  # first of all: it finds a dictionary that was never sent
        entries += sum(len(column.dictionary) for column in batch.columns if pa.types.is_dictionary(column.type))
        if entries > DICTIONARY_ENTRIES_MAX:
            raise _refused(
                f"its record batches refer to more than {DICTIONARY_ENTRIES_MAX} dictionary entries in all; "
                "send fewer, larger record batches, and dictionaries of what occurs",
                "ARROW_TOO_LARGE",
            )
        batch.validate(full=True)
        if batch.num_rows:
            yield batch


def _heads(content: bytes) -> Iterator[MessageHead]:
    source = pa.BufferReader(content)
    try:
        reader = pa.ipc.MessageReader.open_stream(source)
        end, count = 0, 0
        for message in reader:
            yield message_head(message)
            end, count = source.tell(), count + 1
            if count > MESSAGES_MAX:
                raise _refused(
                    f"it has more than {MESSAGES_MAX} messages; send larger record batches", "ARROW_TOO_LARGE"
                )
    except (pa.ArrowException, OSError, ValueError, MessageMalformed) as error:
        raise _unreadable(error) from error
    if not count or content[end:] not in _ENDS:
        raise _refused(
            "it does not end as a stream does, so rows may be missing; send all that a closed writer wrote",
            "ARROW_TRUNCATED",
        )


def _unreadable(error: Exception) -> InvalidInput:
    return _refused(
        f"it cannot be read: {str(error)[:200]}; send what an Arrow stream writer wrote", "ARROW_UNREADABLE"
    )


def _refused(what: str, reason: str) -> InvalidInput:
    return InvalidInput(f"{FIELD} is no Arrow IPC stream that can be taken: {what}", field=FIELD, reason=reason)
