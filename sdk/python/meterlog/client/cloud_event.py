"""CloudEvents 1.0 to be sent in one request: as messages, as JSON text, or as their members in Python's own types."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from meterlog.client.errors import WrongType, WrongValue
from meterlog.client.event import number_text
from meterlog.client.sending import EVENTS_PER_REQUEST_MAX
from meterlog.ingest.v1.ingest_pb2 import CloudEvent, RecordCloudEventsRequest

CLOUD_EVENT_BYTES_MAX = 12 * 1024 * 1024
"""A request stays below the 16 MiB that the services receive."""

CloudEvents = str | bytes | Mapping[str, Any] | Sequence[Mapping[str, Any]] | Sequence[CloudEvent]
"""JSON text (a batch, or one), one event or several by their members as in JSON, or protobuf messages."""


@dataclass(frozen=True, slots=True)
class EventName:
    """What a CloudEvent is known by; empty where it names nothing."""

    source: str
    id: str


@dataclass(frozen=True, slots=True)
class CloudEventBatch:
    """CloudEvents in one of the two forms of the contract, with what each is known by."""

    names: tuple[EventName, ...]
    messages: tuple[CloudEvent, ...] = ()
    json: bytes = b""

    def request(self, *, atomic: bool, backfill: str) -> RecordCloudEventsRequest:
        """The request that records them."""
        return RecordCloudEventsRequest(events=self.messages, json=self.json, atomic=atomic, backfill=backfill)


def cloud_event_batch(events: CloudEvents) -> CloudEventBatch:
    """One request's worth of CloudEvents; raises WrongType or WrongValue for what cannot be sent."""
    batch = _batch(events)
    if not 1 <= len(batch.names) <= EVENTS_PER_REQUEST_MAX:
        raise WrongValue(f"{len(batch.names)} CloudEvents; send 1 to {EVENTS_PER_REQUEST_MAX} in a call")
    size = len(batch.json) + sum(message.ByteSize() for message in batch.messages)
    if size > CLOUD_EVENT_BYTES_MAX:
        raise WrongValue(f"the CloudEvents take {size} bytes; send at most {CLOUD_EVENT_BYTES_MAX} in a call")
    return batch


def json_batch(texts: Sequence[str], names: Sequence[EventName]) -> CloudEventBatch:
    """JSON texts of one CloudEvent each, as they were written, with the names that stand in them."""
    return CloudEventBatch(tuple(names), json=f"[{','.join(texts)}]".encode())


def name_of(document: object) -> EventName:
    """What a CloudEvent of parsed JSON is known by."""
    members = document if isinstance(document, Mapping) else {}
    source, id_ = members.get("source"), members.get("id")
    return EventName(source if isinstance(source, str) else "", id_ if isinstance(id_, str) else "")


def _batch(events: CloudEvents) -> CloudEventBatch:
    if isinstance(events, str | bytes):
        return _written(events)
    if isinstance(events, Mapping):
        return _from_members([events])
    if not isinstance(events, Sequence):
        raise WrongType(f"CloudEvents are a {type(events).__name__}; use JSON text, or a list of mappings or messages")
    messages = tuple(event for event in events if isinstance(event, CloudEvent))
    if messages and len(messages) == len(events):
        return CloudEventBatch(tuple(EventName(each.source, each.id) for each in messages), messages)
    return _from_members(events)


def _written(text: str | bytes) -> CloudEventBatch:
    """The text goes out as it is: a number that is not exact as a float stays what was written."""
    try:
        content = text.encode() if isinstance(text, str) else text
        document = json.loads(content.decode(), parse_int=str, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise WrongValue(f"the CloudEvents are no JSON text in UTF-8: {str(error)[:120]}") from error
    members = document if isinstance(document, list) else [document]
    return CloudEventBatch(tuple(map(name_of, members)), json=content)


def _from_members(events: Sequence[Any]) -> CloudEventBatch:
    for event in events:
        if not isinstance(event, Mapping):
            raise WrongType(f"a CloudEvent is a {type(event).__name__}; use mappings, or messages, not both")
    try:
        members = [_plain(event, f"events[{row}]") for row, event in enumerate(events)]
        content = json.dumps(members, ensure_ascii=False).encode()
    except RecursionError as error:
        raise WrongValue("a CloudEvent is nested too deep, or holds itself") from error
    except UnicodeEncodeError as error:
        raise WrongValue("a text holds half a surrogate pair; send well-formed Unicode") from error
    return CloudEventBatch(tuple(map(name_of, members)), json=content)


def _plain(value: object, place: str) -> Any:
    """The value as JSON has it: decimals as their text, instants as RFC 3339 has them; a float is no exact number."""
    match value:
        case None | str() | bool():
            return value
        case int():
            number_text(value, place)  # raises for thousands of digits
            return value
        case Decimal():
            return number_text(value, place)
        case datetime():
            return _instant_text(value, place)
        case Mapping():
            return {_key(key, place): _plain(member, f"{place}.{key}") for key, member in value.items()}
        case list() | tuple():
            return [_plain(member, place) for member in value]
        case _:
            return number_text(value, place)  # type: ignore[arg-type]  # it refuses every other type, and says why


def _key(key: object, place: str) -> str:
    if not isinstance(key, str):
        raise WrongType(f"{place} has a key that is a {type(key).__name__}; use text")
    return key


def _instant_text(instant: datetime, place: str) -> str:
    if instant.utcoffset() is None:
        raise WrongValue(f"{place} has no time zone, so it is no instant; add one, such as datetime.UTC")
    return instant.astimezone(UTC).isoformat()
