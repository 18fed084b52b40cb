"""Asks a service whether it may be used (gRPC health checking protocol, service "")."""

from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

PROBE_TIMEOUT_S: Final = 1.0

_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
)


class HealthProbe:
    """A channel of its own to one address; a service that is not there yet is not healthy."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._stub = health_pb2_grpc.HealthStub(self._channel)

    def is_serving(self) -> bool:
        """Whether the service answers, and says that it serves."""
        try:
            response = self._stub.Check(health_pb2.HealthCheckRequest(), timeout=PROBE_TIMEOUT_S)
        except grpc.RpcError:
            return False
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    def close(self) -> None:
        """Let go of the channel."""
        self._channel.close()
