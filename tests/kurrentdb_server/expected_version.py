"""What a request says about the version that it expects."""

from kurrentdbclient.protos.v1 import streams_pb2

from tests.kurrentdb_server.expectation import ANY, NO_STREAM, STREAM_EXISTS
from tests.kurrentdb_server.refusal import invalid_argument

Options = (
    streams_pb2.AppendReq.Options
    | streams_pb2.BatchAppendReq.Options
    | streams_pb2.DeleteReq.Options
    | streams_pb2.TombstoneReq.Options
)

STATES = {"any": ANY, "no_stream": NO_STREAM, "stream_exists": STREAM_EXISTS}


def expected_version(options: Options) -> int:
    """A revision, ANY, NO_STREAM or STREAM_EXISTS; raises Refusal when the request does not say."""
    if isinstance(options, streams_pb2.BatchAppendReq.Options):
        said = options.WhichOneof("expected_stream_position")
        return options.stream_position if said == "stream_position" else _state(said)
    which = options.WhichOneof("expected_stream_revision")
    return options.revision if which == "revision" else _state(which)


def _state(which: str | None) -> int:
    if which is None:
        raise invalid_argument("'None' is not a valid expected stream revision")
    return STATES[which]
