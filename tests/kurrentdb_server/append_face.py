"""Append: one append a call, its options first, then an event a message."""

from collections.abc import Iterator

from kurrentdbclient.protos.v1 import shared_pb2
from kurrentdbclient.protos.v1.streams_pb2 import AppendReq, AppendResp

from tests.kurrentdb_server.call import Call
from tests.kurrentdb_server.event_log import Written
from tests.kurrentdb_server.expectation import ANY, NO_STREAM, STREAM_EXISTS
from tests.kurrentdb_server.expected_version import expected_version
from tests.kurrentdb_server.node import Node
from tests.kurrentdb_server.proposal import BadProposal, EventTooLarge, PropertyMissing, proposed
from tests.kurrentdb_server.record import Proposed
from tests.kurrentdb_server.refusal import (
    append_too_large,
    event_too_large,
    handler_failed,
    property_missing,
    stream_deleted,
)

EMPTY = shared_pb2.Empty()
UINT64_MAX = 2**64 - 1


def append(node: Node, call: Call, requests: Iterator[AppendReq]) -> AppendResp:
    """All events or none; another version than expected is an answer, everything else raises Refusal."""
    first = next(requests, None)
    if first is None or first.WhichOneof("content") != "options":
        raise handler_failed()
    stream = first.options.stream_identifier.stream_name.decode()
    expected = expected_version(first.options)
    call.authorize(stream)
    events = _events(node, requests)
    done = call.commit(lambda: node.log.append(stream, expected, events, node.memory()))
    if isinstance(done, Written):
        return AppendResp(success=_success(done))
    if done.is_deleted:
        raise stream_deleted(stream)
    return AppendResp(wrong_expected_version=_wrong_version(expected, done.current))


def _events(node: Node, requests: Iterator[AppendReq]) -> list[Proposed]:
    events: list[Proposed] = []
    size = 0
    for request in requests:
        if request.WhichOneof("content") != "proposed_message":
            raise handler_failed()
        event = _event(request.proposed_message, node.options.event_bytes_max)
        events.append(event)
        size += event.size
        if size > node.options.append_bytes_max:
            raise append_too_large(node.options.append_bytes_max)
    return events


def _event(message: AppendReq.ProposedMessage, bytes_max: int) -> Proposed:
    try:
        return proposed(message, bytes_max)
    except EventTooLarge as error:
        raise event_too_large(error.event_id, error.size, error.bytes_max) from error
    except PropertyMissing as error:
        raise property_missing(str(error)) from error
    except BadProposal as error:
        raise handler_failed() from error


def _success(done: Written) -> AppendResp.Success:
    success = AppendResp.Success()
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


def _wrong_version(expected: int, current: int) -> AppendResp.WrongExpectedVersion:
    wrong = AppendResp.WrongExpectedVersion()
    if current < 0:
        wrong.current_no_stream.CopyFrom(EMPTY)
        wrong.no_stream_20_6_0.CopyFrom(EMPTY)
    else:
        wrong.current_revision = wrong.current_revision_20_6_0 = current
    if expected == ANY:
        wrong.expected_any.CopyFrom(EMPTY)
        wrong.any_20_6_0.CopyFrom(EMPTY)
    elif expected == STREAM_EXISTS:
        wrong.expected_stream_exists.CopyFrom(EMPTY)
        wrong.stream_exists_20_6_0.CopyFrom(EMPTY)
    elif expected == NO_STREAM:
        wrong.expected_no_stream.CopyFrom(EMPTY)
        wrong.expected_revision_20_6_0 = UINT64_MAX
    else:
        wrong.expected_revision = wrong.expected_revision_20_6_0 = expected
    return wrong
