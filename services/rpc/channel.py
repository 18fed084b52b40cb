"""Channels from one service to another: kept alive, retried while the other restarts, with the caller's key."""

import json
from typing import Any

import grpc

from services.rpc.authorization import API_KEY_METADATA

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
ATTEMPTS_MAX = 5

_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": ATTEMPTS_MAX,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            },
            # A stream is never retried: its caller has to know how far it came. Besides, gRPC can lose a stream whose
            # server dies while it is retried: neither an answer nor the deadline ever ends it (seen with 1.85).
            {"name": [{"service": "meterlog.common.v1.ProjectionService", "method": "RebuildProjection"}]},
        ]
    }
)

OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.enable_retries", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class _ApiKey(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Adds the API key to the metadata of every call."""

    def __init__(self, api_key: str) -> None:
        self._metadata = ((API_KEY_METADATA, api_key),)

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._with_key(details), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._with_key(details), request)

    def _with_key(self, details: Any) -> Any:
        return details._replace(metadata=(*(details.metadata or ()), *self._metadata))


def open_channel(address: str, api_key: str = "") -> grpc.Channel:
    """A channel to `<host>:<port>`; every RPC of Meterlog is safe to repeat, so UNAVAILABLE is retried."""
    channel = grpc.insecure_channel(address, options=OPTIONS)
    return grpc.intercept_channel(channel, _ApiKey(api_key)) if api_key else channel
