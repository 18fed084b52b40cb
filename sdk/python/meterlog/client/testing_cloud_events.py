"""CloudEvents as usage events, for the ingest service in memory: what is well formed, and no more than that."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from meterlog.client.event import usage_event
from meterlog.ingest.v1.ingest_pb2 import CloudEvent, CloudEventAttributeValue, RecordCloudEventsRequest, UsageEvent

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def events_of_cloud_events(request: RecordCloudEventsRequest) -> Iterator[UsageEvent]:
    """The usage events of the request, in its order; one without id has no other member either."""
    documents = _parsed(request.json) if request.json else map(_members, request.events)
    for document in documents:
        yield _event(document) if isinstance(document, dict) and document.get("id") else UsageEvent()


def _parsed(content: bytes) -> list[Any]:
    document = json.loads(content, parse_int=str, parse_float=str)
    return document if isinstance(document, list) else [document]


def _members(message: CloudEvent) -> dict[str, Any]:
    content = message.text_data if message.HasField("text_data") else message.binary_data
    return {
        **{name: _attribute(value) for name, value in message.attributes.items()},
        "id": message.id,
        "source": message.source,
        "type": message.type,
        "data": json.loads(content or "{}", parse_int=str, parse_float=str),
    }


def _attribute(value: CloudEventAttributeValue) -> Any:
    kind = value.WhichOneof("attr")
    if kind == "ce_timestamp":
        at = value.ce_timestamp
        return (_EPOCH + timedelta(seconds=at.seconds, microseconds=at.nanos // 1000)).isoformat()
    return getattr(value, kind) if kind else None


def _event(document: Mapping[str, Any]) -> UsageEvent:
    said = {key: _text(value) for key, value in (document.get("data") or {}).items() if value is not None}
    return usage_event(
        id=document["id"],
        source=document.get("source", ""),
        type=document.get("type", ""),
        subject=document.get("subject", ""),
        time=datetime.fromisoformat(document["time"]) if "time" in document else _EPOCH,
        value=said.pop("value", None),
        properties=said,
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
