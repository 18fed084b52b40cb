"""One event of the log as a person reads it, and as a document."""

from base64 import b64encode
from contextlib import suppress
from typing import Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.text_format import MessageToString

from services.cli.instants import instant_text
from services.eventstore.catalogue import decode
from services.eventstore.event import RecordedEvent
from services.kernel.errors import Corrupt

LINES_MAX: Final = 60


def event_document(event: RecordedEvent) -> dict[str, object]:
    """Header and payload, and what the payload says where its type is known to this release."""
    document: dict[str, object] = {
        "stream": str(event.stream),
        "version": event.version,
        "id": str(event.id),
        "type": event.type,
        "schema_version": event.schema_version,
        "recorded_at": instant_text(event.recorded_at),
        "payload": b64encode(event.payload).decode(),
    }
    with suppress(Corrupt):
        document["message"] = MessageToDict(decode(event), preserving_proto_field_name=True)
    return document


def event_text(event: RecordedEvent) -> str:
    """The header in three lines, then what the payload says, LINES_MAX lines at most."""
    header = (
        f"stream    {event.stream}, version {event.version}\n"
        f"event     {event.type}, schema version {event.schema_version}, id {event.id}\n"
        f"recorded  {instant_text(event.recorded_at)}\n"
    )
    lines = _message_lines(event)
    left_out = [f"… and {len(lines) - LINES_MAX} lines more; --json shows all"] if len(lines) > LINES_MAX else []
    return header + "\n".join(["payload", *(f"  {line}" for line in [*lines[:LINES_MAX], *left_out])])


def _message_lines(event: RecordedEvent) -> list[str]:
    try:
        return MessageToString(decode(event), as_utf8=True).splitlines()
    except Corrupt:
        return [f"{len(event.payload)} bytes of a type that this release does not know"]
