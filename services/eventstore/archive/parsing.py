"""What a line of an archive says, however it is spelled. Pure."""

import json
from base64 import b64decode
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from services.eventstore.archive.lines import FORMAT, FORMAT_VERSION, ArchivedEvent, End, Header, Line, Seal
from services.eventstore.audit.chain import Commit
from services.eventstore.audit.tree import HASH_BYTES
from services.eventstore.event import (
    ANY_VERSION,
    PAYLOAD_BYTES_MAX,
    VERSION_MAX,
    NewEvent,
    Position,
    RecordedEvent,
    StreamName,
    require_appendable,
)
from services.kernel.clock import from_epoch_us
from services.kernel.errors import InvalidInput

_ANY_ID: Final = UUID(int=0)


class NotALine(ValueError):
    """These bytes are no line of an archive; the message says why."""


def understood(content: bytes) -> Line:
    """What a line says, however it is spelled: spell it again to see. Raises NotALine."""
    try:
        document = json.loads(content.decode())
        return _READERS[document["kind"]](document)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, InvalidInput) as error:
        raise NotALine(f"it is no line of an archive ({str(error)[:200] or type(error).__name__})") from error


def _header(document: dict[str, Any]) -> Header:
    if document["format"] != FORMAT:
        raise NotALine(f"it is no archive: its format is not {FORMAT}")
    if document["version"] != FORMAT_VERSION:
        raise NotALine(f"format version {document['version']} is not {FORMAT_VERSION}; a newer release reads it")
    return Header(
        has_commits=document["has_commits"] is True,
        after=Position(_number(document["after"])),
        first_ordinal=_number(document["first_ordinal"]),
        left=_hashes(document["left"]),
        chain=_hash_or_none(document["chain"]),
    )


def _event(document: dict[str, Any]) -> ArchivedEvent:
    event_type, schema_version = document["type"], _number(document["schema_version"])
    return ArchivedEvent(
        ordinal=_number(document["ordinal"]),
        event=RecordedEvent(
            position=Position(_number(document["position"])),
            stream=_stream_of(document["stream"], event_type, schema_version),
            version=_number(document["version"]),
            id=UUID(document["id"]),
            type=event_type,
            schema_version=schema_version,
            recorded_at=_instant(document["recorded_at_us"]),
            payload=_payload(document["payload"]),
            leaf=_hash(document["leaf"]),
        ),
    )


def _commit(document: dict[str, Any]) -> Commit:
    first, last = _number(document["first_position"]), _number(document["last_position"])
    return Commit(Position(first), Position(last), _hash(document["root"]), _hash(document["chain"]))


def _seal(document: dict[str, Any]) -> Seal:
    return Seal(note=_string(document["note"]), right=_hashes(document["right"]))


def _end(document: dict[str, Any]) -> End:
    return End(
        events=_number(document["events"]),
        commits=_number(document["commits"]),
        position=Position(_number(document["position"])),
        chain=_hash_or_none(document["chain"]),
        size=_number(document["size"]),
        root=_hash(document["root"]),
    )


_READERS: Final[dict[str, Callable[[dict[str, Any]], Line]]] = {
    "header": _header,
    "event": _event,
    "commit": _commit,
    "seal": _seal,
    "end": _end,
}


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= VERSION_MAX:
        raise NotALine(f"{str(value)[:50]} is not a whole number from 0 to {VERSION_MAX}")
    return value


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise NotALine(f"{str(value)[:50]} is no text")
    value.encode()  # JSON can write halves of characters that UTF-8 cannot
    return value


def _hash(value: object) -> bytes:
    content = bytes.fromhex(_string(value))
    if len(content) != HASH_BYTES:
        raise NotALine(f"a hash has {HASH_BYTES} bytes, not {len(content)}")
    return content


def _hash_or_none(value: object) -> bytes:
    return _hash(value) if value else b""


def _hashes(values: Sequence[object]) -> tuple[bytes, ...]:
    return tuple(_hash(value) for value in values)


def _payload(value: object) -> bytes:
    content = b64decode(_string(value), validate=True)
    if len(content) > PAYLOAD_BYTES_MAX:
        raise NotALine(f"a payload has at most {PAYLOAD_BYTES_MAX} bytes, not {len(content)}")
    return content


@lru_cache(maxsize=4096)
def _stream_of(name: object, event_type: object, schema_version: int) -> StreamName:
    """The stream, once it is sure that a store would take such an event."""
    stream = StreamName.parse(_string(name))
    require_appendable(stream, [NewEvent(_ANY_ID, _string(event_type), schema_version, b"")], ANY_VERSION)
    return stream


def _instant(value: object) -> datetime:
    if type(value) is not int:
        raise NotALine(f"{str(value)[:50]} is no number of microseconds")
    return _from_epoch_us(value)


_from_epoch_us = lru_cache(maxsize=1024)(from_epoch_us)
