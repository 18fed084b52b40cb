"""The gRPC services: each method with its name, and every refusal as the status that it stands for."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
from kurrentdbclient.protos.v1 import gossip_pb2, shared_pb2, streams_pb2

from tests.kurrentdb_server.append_face import append
from tests.kurrentdb_server.batch_append_face import BatchAppend
from tests.kurrentdb_server.call import Call
from tests.kurrentdb_server.delete_face import delete, tombstone
from tests.kurrentdb_server.gossip_face import cluster_info
from tests.kurrentdb_server.node import Node
from tests.kurrentdb_server.read_face import read
from tests.kurrentdb_server.reading import Response
from tests.kurrentdb_server.refusal import Refusal

STREAMS = "event_store.client.streams.Streams"
GOSSIP = "event_store.client.gossip.Gossip"


def handlers(node: Node) -> list[grpc.GenericRpcHandler]:
    """What a grpc.server of that node serves."""
    streams: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Append": grpc.stream_unary_rpc_method_handler(
            _single(node, "Append", lambda call, requests: append(node, call, requests)),
            streams_pb2.AppendReq.FromString,
            _serialized,
        ),
        "BatchAppend": grpc.stream_stream_rpc_method_handler(
            _many(node, "BatchAppend", lambda call, requests: BatchAppend(node, call).answers(requests)),
            streams_pb2.BatchAppendReq.FromString,
            _serialized,
        ),
        "Read": grpc.unary_stream_rpc_method_handler(
            _many(node, "Read", lambda call, request: read(node, call, request.options)),
            streams_pb2.ReadReq.FromString,
            _serialized,
        ),
        "Delete": grpc.unary_unary_rpc_method_handler(
            _single(node, "Delete", lambda call, request: delete(node, call, request)),
            streams_pb2.DeleteReq.FromString,
            _serialized,
        ),
        "Tombstone": grpc.unary_unary_rpc_method_handler(
            _single(node, "Tombstone", lambda call, request: tombstone(node, call, request)),
            streams_pb2.TombstoneReq.FromString,
            _serialized,
        ),
    }
    gossip: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Read": grpc.unary_unary_rpc_method_handler(
            _single(node, "Gossip", lambda call, _request: cluster_info(node, call)),
            shared_pb2.Empty.FromString,
            gossip_pb2.ClusterInfo.SerializeToString,
        ),
    }
    return [
        grpc.method_handlers_generic_handler(STREAMS, streams),
        grpc.method_handlers_generic_handler(GOSSIP, gossip),
    ]


def _single(node: Node, name: str, answer: Callable[[Call, Any], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        call = Call(node, context, name)
        try:
            return answer(call, request)
        except Refusal as refusal:
            call.end(refusal)

    return handle


def _many(
    node: Node, name: str, answers: Callable[[Call, Any], Iterator[Any]]
) -> Callable[[Any, grpc.ServicerContext], Iterator[Any]]:
    def handle(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        call = Call(node, context, name)
        try:
            yield from answers(call, request)
        except Refusal as refusal:
            call.end(refusal)

    return handle


def _serialized(response: Response) -> bytes:
    return response if isinstance(response, bytes) else response.SerializeToString()
