"""A server that answers every call of metering with what fits, and keeps which fields of which requests were set."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from meterlog.aggregator.v1 import aggregator_pb2, correction_pb2, storage_pb2
from meterlog.ingest.v1 import ingest_pb2

STOP_WAIT_S = 10.0
MODULES = (ingest_pb2, aggregator_pb2, correction_pb2, storage_pb2)
SERVICES: tuple[ServiceDescriptor, ...] = tuple(
    service for module in MODULES for service in module.DESCRIPTOR.services_by_name.values()
)
METHODS: dict[str, MethodDescriptor] = {
    f"{service.name}.{method.name}": method for service in SERVICES for method in service.methods
}

Answers = dict[str, Callable[[Any], Message]]


class RecordingServer:
    """Serves METHODS; `answers` are by name, an empty message for the others. Runs while it is entered."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.fields: dict[str, set[str]] = defaultdict(set)
        self._server = grpc.server(ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers(tuple(map(self._handler, SERVICES)))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> "RecordingServer":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait(STOP_WAIT_S)

    def _handler(self, service: ServiceDescriptor) -> grpc.GenericRpcHandler:
        methods = {method.name: self._method(f"{service.name}.{method.name}", method) for method in service.methods}
        return grpc.method_handlers_generic_handler(service.full_name, methods)

    def _method(self, name: str, method: MethodDescriptor) -> grpc.RpcMethodHandler:
        answer = self._answers.get(name, lambda _request: GetMessageClass(method.output_type)())

        def one(request: Message, _context: grpc.ServicerContext) -> Message:
            self.fields[name] |= set(fields_set(request))
            return answer(request)

        def each(requests: Iterator[Message], context: grpc.ServicerContext) -> Iterator[Message]:
            return (one(request, context) for request in requests)

        def stream(request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
            return iter((one(request, context),))

        coded = {
            "request_deserializer": GetMessageClass(method.input_type).FromString,
            "response_serializer": lambda message: message.SerializeToString(),
        }
        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(each, **coded)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, **coded)
        return grpc.unary_unary_rpc_method_handler(one, **coded)


def fields_set(message: Message) -> Iterator[str]:
    """The fields that are there, those of messages in it as "meter.unit"."""
    for field, value in message.ListFields():
        yield field.name
        if _is_ours(field):
            for each in value if field.is_repeated else (value,):
                yield from (f"{field.name}.{name}" for name in fields_set(each))


def fields_of(message: Descriptor) -> Iterator[str]:
    """All its fields, those of messages in it as "meter.unit"."""
    for field in message.fields:
        yield field.name
        if _is_ours(field):
            yield from (f"{field.name}.{name}" for name in fields_of(field.message_type))


def _is_ours(field: FieldDescriptor) -> bool:
    """Whether it holds messages of the contract, and not such as a timestamp or a map."""
    held = field.message_type
    return held is not None and held.full_name.startswith("meterlog.") and not held.GetOptions().map_entry
