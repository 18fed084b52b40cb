"""The CloudEvents of a request, in the one of the two forms in which they came."""

from collections.abc import Sequence
from typing import Final

from meterlog.ingest.v1.ingest_pb2 import RecordCloudEventsRequest
from services.ingest.batch_size import require_batch_size
from services.ingest.cloud_event import CloudEvent, from_member, from_message
from services.ingest.event_data import JsonRefused, parse_json
from services.kernel.errors import InvalidInput

JSON_BYTES_MAX: Final = 16 * 1024 * 1024
JSON_PARTS_MAX: Final = 1_000_000
"""Commas and brackets of a document, in texts too: each may be an object in memory many times its size."""


def cloud_events(request: RecordCloudEventsRequest) -> Sequence[CloudEvent]:
    """The CloudEvents, in order.

    Raises InvalidInput when there are both forms or none, too many, or JSON that cannot be read.
    """
    if bool(request.events) == bool(request.json):
        raise InvalidInput("send events or json, one of both", field="events", reason="ONE_FORM")
    if request.events:
        require_batch_size(len(request.events))
        return [from_message(message) for message in request.events]
    document = _document(request.json)
    members = document if isinstance(document, list) else [document]
    require_batch_size(len(members))
    return [from_member(member) for member in members]


def _document(content: bytes) -> object:
    if len(content) > JSON_BYTES_MAX or sum(map(content.count, (b",", b"[", b"{"))) > JSON_PARTS_MAX:
        raise InvalidInput(
            f"the JSON is too large; send at most {JSON_BYTES_MAX} bytes, and {JSON_PARTS_MAX} members in all",
            field="json",
            reason="JSON_TOO_LARGE",
        )
    try:
        return parse_json(content)
    except JsonRefused as error:
        raise InvalidInput(f"the JSON cannot be read: {error}", field="json", reason="JSON_UNREADABLE") from error
