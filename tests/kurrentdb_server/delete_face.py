"""Delete and Tombstone as the protocol words them."""

from kurrentdbclient.protos.v1 import streams_pb2

from tests.kurrentdb_server.call import Call
from tests.kurrentdb_server.event_log import Written
from tests.kurrentdb_server.expectation import Refused
from tests.kurrentdb_server.expected_version import expected_version
from tests.kurrentdb_server.node import Node
from tests.kurrentdb_server.refusal import stream_deleted, wrong_expected_version


def delete(node: Node, call: Call, request: streams_pb2.DeleteReq) -> streams_pb2.DeleteResp:
    """Softly; raises Refusal when the stream is at another version."""
    stream = request.options.stream_identifier.stream_name.decode()
    expected = expected_version(request.options)
    call.authorize(stream)
    position = _position(stream, expected, call.commit(lambda: node.log.delete(stream, expected, node.memory())))
    place = streams_pb2.DeleteResp.Position(commit_position=position, prepare_position=position)
    return streams_pb2.DeleteResp(position=place)


def tombstone(node: Node, call: Call, request: streams_pb2.TombstoneReq) -> streams_pb2.TombstoneResp:
    """For good; raises Refusal when the stream is at another version."""
    stream = request.options.stream_identifier.stream_name.decode()
    expected = expected_version(request.options)
    call.authorize(stream)
    position = _position(stream, expected, call.commit(lambda: node.log.tombstone(stream, expected, node.memory())))
    place = streams_pb2.TombstoneResp.Position(commit_position=position, prepare_position=position)
    return streams_pb2.TombstoneResp(position=place)


def _position(stream: str, expected: int, done: Written | Refused) -> int:
    if isinstance(done, Written):
        return done.position or 0
    if done.is_deleted:
        raise stream_deleted(stream)
    raise wrong_expected_version("Delete", stream, expected, done.current)
