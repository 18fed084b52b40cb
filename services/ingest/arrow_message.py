"""What a message of an Arrow IPC stream says of itself, read without touching what it carries.

Arrow's reader decompresses a message as soon as it reads it, so the sizes have to be known before. They stand in the
message's metadata, a FlatBuffers table (Message.fbs and Schema.fbs of the Arrow columnar format), and, for a compressed
buffer, in its first eight bytes.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import pyarrow as pa

_UINT32: Final = struct.Struct("<I")
_INT32: Final = struct.Struct("<i")
_UINT16: Final = struct.Struct("<H")
_INT64: Final = struct.Struct("<q")
_UINT8: Final = struct.Struct("<B")
_BUFFER: Final = struct.Struct("<qq")

_NOT_COMPRESSED: Final = -1
_VTABLE_FIELDS: Final = 4

# The places of fields in their tables.
_MESSAGE_HEADER_TYPE: Final = 1
_MESSAGE_HEADER: Final = 2
_BATCH_LENGTH: Final = 0
_BATCH_BUFFERS: Final = 2
_BATCH_COMPRESSION: Final = 3
_DICTIONARY_ID: Final = 0
_DICTIONARY_DATA: Final = 1
_DICTIONARY_IS_DELTA: Final = 2


class MessageMalformed(Exception):
    """The metadata is no message of Arrow."""


class Kind(IntEnum):
    """What a message carries, numbered as in Message.fbs."""

    SCHEMA = 1
    DICTIONARY = 2
    RECORD_BATCH = 3


@dataclass(frozen=True, slots=True)
class MessageHead:
    """What a message carries: its rows (the entries of a dictionary), and its bytes once decompressed."""

    kind: Kind
    rows: int = 0
    size_bytes: int = 0
    dictionary: int = 0
    is_delta: bool = False


def message_head(message: pa.ipc.Message) -> MessageHead:
    """Read the head of a message; raises MessageMalformed when it is none, or carries something else."""
    try:
        return _message_head(memoryview(message.metadata), memoryview(message.body or b""))
    except (struct.error, ValueError, IndexError) as error:
        raise MessageMalformed("the metadata of a message cannot be read") from error


def _message_head(metadata: memoryview, body: memoryview) -> MessageHead:
    message = _Table(metadata, _UINT32.unpack_from(metadata, 0)[0])
    kind = Kind(message.number(_MESSAGE_HEADER_TYPE, _UINT8))
    if kind is Kind.SCHEMA:
        return MessageHead(kind)
    header = message.table(_MESSAGE_HEADER)
    if kind is Kind.RECORD_BATCH:
        return MessageHead(kind, _positive(header.number(_BATCH_LENGTH, _INT64)), _size_bytes(header, body))
    values = header.table(_DICTIONARY_DATA)
    return MessageHead(
        kind,
        _positive(values.number(_BATCH_LENGTH, _INT64)),
        _size_bytes(values, body),
        header.number(_DICTIONARY_ID, _INT64),
        bool(header.number(_DICTIONARY_IS_DELTA, _UINT8)),
    )


def _size_bytes(batch: "_Table", body: memoryview) -> int:
    buffers = batch.structs(_BATCH_BUFFERS, _BUFFER)
    if not batch.has(_BATCH_COMPRESSION):
        return sum(_positive(length) for _, length in buffers)
    return sum(_decompressed_bytes(body, offset, length) for offset, length in buffers if length)


def _decompressed_bytes(body: memoryview, offset: int, length: int) -> int:
    size = _INT64.unpack_from(body, _positive(offset))[0]
    return _positive(length) if size == _NOT_COMPRESSED else _positive(size)


def _positive(number: int) -> int:
    if number < 0:
        raise MessageMalformed("a message has a negative size")
    return number


@dataclass(frozen=True, slots=True)
class _Table:
    """A FlatBuffers table: the vtable says where each field stands, and 0 where it does not."""

    content: memoryview
    start: int

    def has(self, field: int) -> bool:
        return self._place(field) is not None

    def number(self, field: int, form: struct.Struct) -> int:
        place = self._place(field)
        return int(form.unpack_from(self.content, place)[0]) if place is not None else 0

    def table(self, field: int) -> "_Table":
        place = self._place(field)
        if place is None:
            raise MessageMalformed("a message lacks what it says it carries")
        return _Table(self.content, self._behind(place))

    def structs(self, field: int, form: struct.Struct) -> list[tuple[int, int]]:
        place = self._place(field)
        if place is None:
            return []
        start = self._behind(place)
        (count,) = _UINT32.unpack_from(self.content, start)
        first = start + _UINT32.size
        end = first + count * form.size
        if end > len(self.content):
            raise MessageMalformed("a message has more buffers than bytes")
        return list(form.iter_unpack(self.content[first:end]))

    def _behind(self, place: int) -> int:
        return place + int(_UINT32.unpack_from(self.content, place)[0])

    def _place(self, field: int) -> int | None:
        vtable = self.start - int(_INT32.unpack_from(self.content, self.start)[0])
        (size,) = _UINT16.unpack_from(self.content, _within(vtable))
        at = _VTABLE_FIELDS + 2 * field
        if at + 2 > size:
            return None
        (offset,) = _UINT16.unpack_from(self.content, vtable + at)
        return self.start + offset if offset else None


def _within(place: int) -> int:
    if place < 0:
        raise MessageMalformed("a table of a message begins before it")
    return place
