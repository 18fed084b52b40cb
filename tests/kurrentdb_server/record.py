"""One event as it is proposed, and as it stands in the log."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from kurrentdbclient.protos.v1 import shared_pb2, streams_pb2

from services.kernel.clock import epoch_us

JSON = "application/json"
BINARY = "application/octet-stream"
TICKS_PER_MICROSECOND = 10

# What a record takes in the log besides what is sent of it.
RECORD_OVERHEAD_BYTES = 64


@dataclass(frozen=True, slots=True)
class Proposed:
    """An event that a client wants appended."""

    event_id: UUID
    type: str
    is_json: bool
    body: bytes
    metadata: bytes

    @property
    def size(self) -> int:
        """What counts against the limits: both bodies, and two bytes for each UTF-16 unit of the type."""
        return len(self.body) + len(self.metadata) + len(self.type.encode("utf-16-le"))


@dataclass(frozen=True, slots=True)
class Record:
    """An event of the log; `response` is the serialized ReadResp that tells a reader of it."""

    position: int
    stream: str
    revision: int
    event_id: UUID
    type: str
    response: bytes

    @property
    def end(self) -> int:
        """The position that the next record gets."""
        return self.position + RECORD_OVERHEAD_BYTES + len(self.response)


def record(proposed: Proposed, stream: str, revision: int, position: int, recorded_at: datetime) -> Record:
    """What stands in the log once `proposed` has its place."""
    event = streams_pb2.ReadResp.ReadEvent.RecordedEvent(
        id=shared_pb2.UUID(string=str(proposed.event_id)),
        stream_identifier=shared_pb2.StreamIdentifier(stream_name=stream.encode()),
        stream_revision=revision,
        commit_position=position,
        prepare_position=position,
        data=proposed.body,
        custom_metadata=proposed.metadata,
        metadata={
            "type": proposed.type,
            "created": str(epoch_us(recorded_at) * TICKS_PER_MICROSECOND),
            "content-type": JSON if proposed.is_json else BINARY,
        },
    )
    read = streams_pb2.ReadResp.ReadEvent(event=event, commit_position=position)
    response = streams_pb2.ReadResp(event=read).SerializeToString()
    return Record(position, stream, revision, proposed.event_id, proposed.type, response)


def stored_record(response: bytes) -> Record:
    """The record that a kept ReadResp tells of."""
    event = streams_pb2.ReadResp.FromString(response).event.event
    stream = event.stream_identifier.stream_name.decode()
    return Record(
        event.commit_position, stream, event.stream_revision, UUID(event.id.string), event.metadata["type"], response
    )


def with_structured_ids(response: bytes) -> streams_pb2.ReadResp:
    """The same response with its id as two numbers, for readers that did not ask for text."""
    answer = streams_pb2.ReadResp.FromString(response)
    number = UUID(answer.event.event.id.string).int
    answer.event.event.id.structured.most_significant_bits = _signed(number >> 64)
    answer.event.event.id.structured.least_significant_bits = _signed(number & (2**64 - 1))
    return answer


def event_id(sent: shared_pb2.UUID) -> UUID:
    """The id that a client sent, as text or as two numbers; raises ValueError when it is none."""
    if sent.WhichOneof("value") == "structured":
        high, low = sent.structured.most_significant_bits, sent.structured.least_significant_bits
        return UUID(int=(high % 2**64) << 64 | low % 2**64)
    return UUID(sent.string)


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number
