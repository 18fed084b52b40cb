"""How a command calls a service: with a deadline, with the caller's key, and with errors in words."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import grpc
from google.protobuf.message import Message

from meterlog.aggregator.v1.aggregator_pb2_grpc import AggregatorServiceStub
from meterlog.aggregator.v1.correction_pb2_grpc import CorrectionServiceStub
from meterlog.aggregator.v1.storage_pb2_grpc import UsageStorageServiceStub
from meterlog.ingest.v1.ingest_pb2_grpc import IngestServiceStub
from meterlog.notifier.v1.notifier_pb2_grpc import NotifierServiceStub
from meterlog.rating.v1.rating_pb2_grpc import RatingServiceStub
from services.cli.addresses import SERVICES, find_addresses
from services.cli.refusal import CallFailed, explain
from services.rpc.channel import open_channel

API_KEY_VARIABLE: Final = "METERLOG_API_KEY"
CALL_TIMEOUT_S: Final = 30.0

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


class Service:
    """One service at its address. Every call has a deadline, and fails with CallFailed."""

    def __init__(self, name: str, address: str, api_key: str) -> None:
        self.name = name
        self.address = address
        self.channel = open_channel(address, api_key)

    def call(self, method: "grpc.UnaryUnaryMultiCallable[Q, R]", request: Q, timeout_s: float = CALL_TIMEOUT_S) -> R:
        """The answer to one request."""
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._failed(error) from error

    def stream(self, method: "grpc.UnaryStreamMultiCallable[Q, R]", request: Q, timeout_s: float) -> Iterator[R]:
        """The answers to one request, as they come; all of them before the deadline."""
        try:
            yield from method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._failed(error) from error

    def stream_until(self, method: "grpc.UnaryStreamMultiCallable[Q, R]", request: Q, timeout_s: float) -> Iterator[R]:
        """The answers to one request, as they come, for so long; that it ends then is no failure."""
        try:
            yield from self.stream(method, request, timeout_s)
        except CallFailed as failed:
            if failed.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise

    def _failed(self, error: grpc.RpcError) -> CallFailed:
        assert isinstance(error, grpc.Call)
        return explain(self.name, self.address, error)


class Services:
    """The four services and their stubs, as the commands use them."""

    def __init__(self, addresses: Mapping[str, str], api_key: str = "") -> None:
        self._services = {name: Service(name, addresses[name], api_key) for name in SERVICES}
        self.ingest = self._services["ingest"]
        self.aggregator = self._services["aggregator"]
        self.rating = self._services["rating"]
        self.notifier = self._services["notifier"]
        self.recording = IngestServiceStub(self.ingest.channel)
        self.meters = AggregatorServiceStub(self.aggregator.channel)
        self.corrections = CorrectionServiceStub(self.aggregator.channel)
        self.storage = UsageStorageServiceStub(self.aggregator.channel)
        self.billing = RatingServiceStub(self.rating.channel)
        self.webhooks = NotifierServiceStub(self.notifier.channel)

    def each(self) -> tuple[Service, ...]:
        """All four, in the order of SERVICES."""
        return tuple(self._services.values())

    def close(self) -> None:
        """Let go of the channels."""
        for service in self.each():
            service.channel.close()


@contextmanager
def connected(var: Path, environment: Mapping[str, str]) -> Iterator[Services]:
    """The services that the environment or a running `meterlog up` names."""
    services = Services(find_addresses(var, environment), environment.get(API_KEY_VARIABLE, ""))
    try:
        yield services
    finally:
        services.close()
