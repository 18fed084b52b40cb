"""BatchAppend: appends of any number of messages each, told apart by their correlation ids."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import any_pb2, empty_pb2
from google.protobuf.message import Message
from grpc import StatusCode as Code
from kurrentdbclient.protos.v1 import shared_pb2
from kurrentdbclient.protos.v1.status_pb2 import Status
from kurrentdbclient.protos.v1.streams_pb2 import BatchAppendReq, BatchAppendResp

from tests.kurrentdb_server.call import Call
from tests.kurrentdb_server.event_log import Written
from tests.kurrentdb_server.expectation import ANY, NO_STREAM, STREAM_EXISTS, Refused
from tests.kurrentdb_server.expected_version import expected_version
from tests.kurrentdb_server.node import Node
from tests.kurrentdb_server.proposal import BadProposal, EventTooLarge, PropertyMissing, proposed
from tests.kurrentdb_server.record import Proposed
from tests.kurrentdb_server.refusal import Refusal, not_ready

EMPTY = empty_pb2.Empty()

Result = Status | BatchAppendResp.Success


@dataclass(slots=True)
class _Pending:
    stream: str
    expected: int
    events: list[Proposed] = field(default_factory=list)
    size: int = 0


class BatchAppend:
    """One call; errors of one append are answers, those of the connection or of leadership end the call."""

    def __init__(self, node: Node, call: Call) -> None:
        self._node = node
        self._call = call
        self._pending: dict[bytes, _Pending] = {}

    def answers(self, requests: Iterator[BatchAppendReq]) -> Iterator[BatchAppendResp]:
        """One answer for each append that ended, and for each that could not begin."""
        for request in requests:
            correlation = request.correlation_id.SerializeToString()
            if request.HasField("options"):
                refused = self._begin(correlation, request.options)
                if refused is not None:
                    yield _answer(request, request.options.stream_identifier.stream_name, refused)
                    continue
            pending = self._pending.get(correlation)
            result = None if pending is None else self._result(correlation, pending, request)
            if pending is not None and result is not None:
                yield _answer(request, pending.stream.encode(), result)

    def _result(self, correlation: bytes, pending: _Pending, request: BatchAppendReq) -> Result | None:
        """None while the append goes on."""
        refused = self._add(pending, request)
        if refused is None and not request.is_final:
            return None
        del self._pending[correlation]
        return refused or self._commit(pending)

    def _begin(self, correlation: bytes, options: BatchAppendReq.Options) -> Status | None:
        stream = options.stream_identifier.stream_name.decode()
        try:
            self._call.authorize(stream)
        except Refusal as refusal:
            if refusal.code is not Code.PERMISSION_DENIED:
                raise
            return _status(Code.PERMISSION_DENIED, shared_pb2.AccessDenied())
        if not options.HasField("stream_identifier"):
            return _bad_request("Required field StreamIdentifier not set.")
        if options.WhichOneof("deadline_option") == "deadline" and options.deadline.ToNanoseconds() <= 0:
            return _status(Code.DEADLINE_EXCEEDED, shared_pb2.Timeout())
        try:
            self._pending.setdefault(correlation, _Pending(stream, expected_version(options)))
        except Refusal as refusal:
            return _bad_request(refusal.details)
        return None

    def _add(self, pending: _Pending, request: BatchAppendReq) -> Status | None:
        limits = self._node.options
        try:
            events = [proposed(message, limits.event_bytes_max) for message in request.proposed_messages]
        except EventTooLarge as error:
            return _event_too_large(error)
        except (PropertyMissing, BadProposal) as error:
            return _bad_request(str(error))
        pending.events += events
        pending.size += sum(event.size for event in events)
        if pending.size > limits.append_bytes_max:
            exceeded = shared_pb2.MaximumAppendSizeExceeded(maxAppendSize=limits.append_bytes_max)
            return _status(Code.INVALID_ARGUMENT, exceeded)
        return None

    def _commit(self, pending: _Pending) -> Result:
        node = self._node
        try:
            done = self._call.commit(
                lambda: node.log.append(pending.stream, pending.expected, pending.events, node.memory())
            )
        except Refusal as refusal:
            return _status_of(refusal)
        if isinstance(done, Written):
            return _success(done)
        if done.is_deleted:
            identifier = shared_pb2.StreamIdentifier(stream_name=pending.stream.encode())
            return _status(Code.NOT_FOUND, shared_pb2.StreamDeleted(stream_identifier=identifier))
        return _status(Code.ALREADY_EXISTS, _wrong_version(pending.expected, done))


def _answer(request: BatchAppendReq, stream: bytes, result: Result) -> BatchAppendResp:
    answer = BatchAppendResp(correlation_id=request.correlation_id)
    answer.stream_identifier.stream_name = stream
    if isinstance(result, Status):
        answer.error.CopyFrom(result)
    else:
        answer.success.CopyFrom(result)
    return answer


def _success(done: Written) -> BatchAppendResp.Success:
    success = BatchAppendResp.Success()
    if done.revision < 0:
        success.no_stream.CopyFrom(EMPTY)
    else:
        success.current_revision = done.revision
    if done.position is None:
        success.no_position.CopyFrom(EMPTY)
    else:
        success.position.commit_position = done.position
        success.position.prepare_position = done.position
    return success


def _wrong_version(expected: int, refused: Refused) -> shared_pb2.WrongExpectedVersion:
    wrong = shared_pb2.WrongExpectedVersion()
    if refused.current < 0:
        wrong.current_no_stream.CopyFrom(EMPTY)
    else:
        wrong.current_stream_revision = refused.current
    states = {
        ANY: wrong.expected_any,
        NO_STREAM: wrong.expected_no_stream,
        STREAM_EXISTS: wrong.expected_stream_exists,
    }
    if expected in states:
        states[expected].SetInParent()
    else:
        wrong.expected_stream_position = expected
    return wrong


def _status_of(refusal: Refusal) -> Status:
    """The answer that stands for a refusal; raises it again when it ends the whole call."""
    if refusal.code is Code.ABORTED:
        return _status(Code.DEADLINE_EXCEEDED, shared_pb2.Timeout())
    if refusal == not_ready():
        return Status(message=refusal.details, details=_packed(EMPTY))
    raise refusal


def _bad_request(message: str) -> Status:
    return _status(Code.INVALID_ARGUMENT, shared_pb2.BadRequest(message=message))


def _event_too_large(error: EventTooLarge) -> Status:
    """The client's package has no such message, so that it is told apart by its name alone."""
    name = "MaximumAppendEventSizeExceeded"
    details = any_pb2.Any(type_url=f"type.googleapis.com/event_store.client.{name}")
    return Status(code=_number(Code.INVALID_ARGUMENT), message=name, details=details)


def _status(code: Code, details: Message) -> Status:
    return Status(code=_number(code), message=type(details).__name__, details=_packed(details))


def _number(code: Code) -> Any:
    """The number of google.rpc.Code, whose generated module clashes with the one that the client brings."""
    return code.value[0]


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
