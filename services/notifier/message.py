"""A webhook message: a fact of the log as the exact JSON bytes that every attempt sends. Stream: message-<id>.

Bytes and id depend on the fact alone, so a repeat, a replay and a second notifier make the same message again.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from meterlog.events.v1.webhook_pb2 import WebhookMessageCreated
from services.eventstore.catalogue import CATALOGUE, decode
from services.eventstore.event import Position, RecordedEvent, StreamName
from services.kernel.timestamp import to_timestamp
from services.notifier.fact import ANNOUNCED, Announcement, instant_text

CATEGORY = "message"
ID_LENGTH = 26

BODY_BYTES_MAX = 256 * 1024
"""A longer body leaves its rows out and says so, so that it always fits into an event and a receiver's limit."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent, and where it comes from. `occurred_at` is the instant of the fact."""

    id: str
    type: str
    body: bytes
    occurred_at: datetime
    source_stream: StreamName
    source_version: int
    source_position: Position


def message_stream(message_id: str) -> StreamName:
    """The stream of the message with this id."""
    return StreamName(CATEGORY, message_id)


def message_of(recorded: RecordedEvent) -> Message | None:
    """The message of a fact; None for an event that is not announced.

    Raises UnknownEventType: what a newer release wrote may have to be announced, and a message that was passed over is
    never made up for.
    """
    fact = decode(recorded)
    announce = ANNOUNCED.get(CATALOGUE.form_of(fact)[0])
    if announce is None:
        return None
    announcement = announce(fact)
    message_id = id_of(recorded.stream, recorded.version, announcement.type)
    return Message(
        id=message_id,
        type=announcement.type,
        body=_body(message_id, announcement),
        occurred_at=announcement.occurred_at,
        source_stream=recorded.stream,
        source_version=recorded.version,
        source_position=recorded.position,
    )


def id_of(stream: StreamName, version: int, message_type: str) -> str:
    """The webhook-id of a fact: "msg_" and 26 characters of base32, lower-case: stable, and without a dot."""
    digest = hashlib.sha256(f"{stream}|{version}|{message_type}".encode()).digest()
    return "msg_" + base64.b32encode(digest).decode().lower()[:ID_LENGTH]


def created(message: Message, endpoints: tuple[str, ...]) -> WebhookMessageCreated:
    """The event that makes the message part of the log, for these endpoints."""
    return WebhookMessageCreated(
        id=message.id,
        type=message.type,
        source_position=message.source_position,
        body=message.body,
        occurred_at=to_timestamp(message.occurred_at),
        endpoints=sorted(endpoints),
        source_stream=str(message.source_stream),
        source_version=message.source_version,
    )


def _body(message_id: str, announcement: Announcement) -> bytes:
    body = _document(message_id, announcement, announcement.content)
    if len(body) <= BODY_BYTES_MAX:
        return body
    rows: dict[str, Any] = {name: [] for name, value in announcement.content.items() if isinstance(value, list)}
    return _document(message_id, announcement, {**announcement.content, **rows, "truncated": True})


def _document(message_id: str, announcement: Announcement, content: dict[str, Any]) -> bytes:
    """Keys in this order, no blanks, UTF-8."""
    document = {
        "id": message_id,
        "type": announcement.type,
        "timestamp": instant_text(announcement.occurred_at),
        "data": content,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
