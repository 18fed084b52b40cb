"""CloudEvents 1.0 as usage events: the attributes say who, what and when, the data how much."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from meterlog.ingest.v1 import ingest_pb2
from services.ingest.event_data import DataRefused, JsonRefused, Measured, TwiceNamed, measured, parse_json
from services.ingest.problem import Problem, shown
from services.ingest.rfc3339 import seconds_and_nanos
from services.ingest.validate import DEFAULT_VALUE, UsageFields, Validated, validate_fields

SPEC_VERSION: Final = "1.0"

_JSON_TYPE: Final = re.compile(r"[\w.+-]+/(?:[\w.-]+\+)?json(?:\s*;.*)?", re.ASCII | re.IGNORECASE)
_NO_DATA: Final = Measured("", {})


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """A CloudEvent as it came, or, with `problem`, why it is none. `time` is absent, RFC 3339, or seconds and nanos."""

    id: str = ""
    source: str = ""
    type: str = ""
    subject: str = ""
    time: str | tuple[int, int] | None = None
    said: Measured = field(default=_NO_DATA)
    problem: Problem | None = None

    def texts(self) -> Iterable[str]:
        """All its texts."""
        said = self.said.properties
        return (self.id, self.source, self.type, self.subject, self.said.value, *said, *said.values())


def validate_cloud_events(events: Sequence[CloudEvent], now_us: int, prefix: str) -> Validated:
    """Check every one by itself, as `validate` does; what makes it no CloudEvent is told before all else."""
    problems = {row: problem for row, event in enumerate(events) if (problem := _problem(event)) is not None}
    sound = [event if row not in problems else CloudEvent() for row, event in enumerate(events)]
    times = [_instant(event.time) for event in sound]
    fields = UsageFields(
        [event.id for event in sound],
        [event.source for event in sound],
        [event.type for event in sound],
        [event.subject for event in sound],
        [seconds for seconds, _ in times],
        [nanos for _, nanos in times],
        [event.time is not None for event in sound],
        [event.said.value or DEFAULT_VALUE for event in sound],
        [dict(event.said.properties) for event in sound],
    )
    return validate_fields(fields, now_us, prefix, problems)


def from_message(message: ingest_pb2.CloudEvent) -> CloudEvent:
    """A CloudEvent of the protobuf format."""
    attributes = {name: _attribute(value) for name, value in message.attributes.items()}
    members = {**attributes, "specversion": message.spec_version, "id": message.id, "source": message.source}
    members["type"] = message.type
    if message.WhichOneof("data") == "proto_data":
        return _refused("DATA_NOT_JSON", "proto_data", "the data is a protobuf message; send JSON")
    content = message.text_data if message.HasField("text_data") else message.binary_data
    return _event(members, _parsed, content if message.WhichOneof("data") else None)


def from_member(document: Any) -> CloudEvent:
    """A CloudEvent of the JSON format, a document of `parse_json`."""
    if isinstance(document, TwiceNamed):
        return _refused("EVENT_NAME_TWICE", "", f"the event names {shown(document.name)} twice; send each name once")
    if not isinstance(document, dict):
        return _refused("EVENT_NOT_OBJECT", "", "this is no CloudEvent, which is a JSON object")
    members = {name: said for name, said in document.items() if said is not None}
    if "data_base64" in members and "data" in members:
        return _refused("DATA_TWICE", "data_base64", "the event has data and data_base64; send one of them")
    if "data_base64" in members:
        return _event(members, _decoded, members["data_base64"])
    return _event(members, lambda data: data, members.get("data"))


def _event(members: Mapping[str, Any], read: Any, data: Any) -> CloudEvent:
    version = members.get("specversion", "")
    if version != SPEC_VERSION:
        return _refused("SPEC_VERSION_UNKNOWN", "spec_version", f'the specification\'s version is not "{SPEC_VERSION}"')
    for name in ("id", "source", "type", "subject", "datacontenttype"):
        if not isinstance(members.get(name, ""), str):
            return _refused("ATTRIBUTE_NOT_TEXT", name, f"{name} is not text")
    if not isinstance(members.get("time", ""), str | tuple):
        return _refused("TIME_NOT_RFC3339", "time", "time is neither a timestamp nor text")
    content_type = members.get("datacontenttype", "application/json")
    if _JSON_TYPE.fullmatch(content_type) is None:
        return _refused("DATA_NOT_JSON", "datacontenttype", f"the data is {shown(content_type)}; send JSON")
    try:
        said = _NO_DATA if data is None else measured(read(data))
    except DataRefused as error:
        return CloudEvent(problem=error.problem)
    except JsonRefused as error:
        return _refused("DATA_NOT_JSON", "data", f"the data cannot be read: {error}")
    identifier, source, kind, subject = (members.get(name, "") for name in ("id", "source", "type", "subject"))
    return CloudEvent(identifier, source, kind, subject, members.get("time"), said)


def _attribute(value: ingest_pb2.CloudEventAttributeValue) -> Any:
    kind = value.WhichOneof("attr")
    if kind is None:
        return None
    if kind == "ce_timestamp":
        return (value.ce_timestamp.seconds, value.ce_timestamp.nanos)
    return getattr(value, kind)


def _parsed(content: str | bytes) -> Any:
    return parse_json(content)


def _decoded(text: Any) -> Any:
    try:
        return parse_json(base64.b64decode(text, validate=True))
    except (binascii.Error, TypeError, ValueError) as error:
        raise JsonRefused("it is not base64") from error


def _problem(event: CloudEvent) -> Problem | None:
    if event.problem is not None:
        return event.problem
    if not _is_unicode(event.texts()):
        return Problem("TEXT_NOT_UNICODE", "", "a text has half a surrogate pair; send whole characters")
    try:
        _instant(event.time)
    except (ValueError, OverflowError):
        message = f'time is {shown(str(event.time))}; write it as RFC 3339 does, such as "2024-01-31T12:00:00.123Z"'
        return Problem("TIME_NOT_RFC3339", "time", message)
    return None


def _is_unicode(texts: Iterable[str]) -> bool:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _instant(time: str | tuple[int, int] | None) -> tuple[int, int]:
    if time is None:
        return 0, 0
    return seconds_and_nanos(time) if isinstance(time, str) else time


def _refused(reason: str, place: str, message: str) -> CloudEvent:
    return CloudEvent(problem=Problem(reason, place, message))
