"""Proposed events as they come from a client, checked one by one."""

from kurrentdbclient.protos.v1 import streams_pb2

from tests.kurrentdb_server.options import RECORD_BYTES_MAX
from tests.kurrentdb_server.record import JSON, Proposed, event_id

ProposedMessage = streams_pb2.AppendReq.ProposedMessage | streams_pb2.BatchAppendReq.ProposedMessage


class BadProposal(Exception):
    """The server's handler throws; the message is the exception's."""


class EventTooLarge(Exception):
    """One event alone is over the limit."""

    def __init__(self, event: Proposed, bytes_max: int) -> None:
        details = f"Event with Id: {event.event_id}, Size: {event.size}, exceeded Max Append Event Size of {bytes_max}"
        super().__init__(details)
        self.event_id = str(event.event_id)
        self.size = event.size
        self.bytes_max = bytes_max


class PropertyMissing(Exception):
    """The metadata of the message lack what every event has."""


def proposed(message: ProposedMessage, event_bytes_max: int) -> Proposed:
    """The event of one message; raises BadProposal, EventTooLarge or PropertyMissing."""
    for name in ("type", "content-type"):
        if name not in message.metadata:
            raise PropertyMissing(f"Required Metadata Property '{name}' is missing")
    event = _event(message)
    if event.event_id.int == 0:
        raise BadProposal("Empty eventId provided. (Parameter 'eventId')")
    if not event.type:
        raise BadProposal("Empty eventType provided. (Parameter 'eventType')")
    if event.size > RECORD_BYTES_MAX:
        raise BadProposal("Record is too big. (Parameter 'data')")
    if event.size > event_bytes_max:
        raise EventTooLarge(event, event_bytes_max)
    return event


def _event(message: ProposedMessage) -> Proposed:
    try:
        identified = event_id(message.id)
    except ValueError as error:
        raise BadProposal(f"Unrecognized Guid format: {message.id.string!r}") from error
    is_json = message.metadata["content-type"] == JSON
    return Proposed(identified, message.metadata["type"], is_json, message.data, message.custom_metadata)
