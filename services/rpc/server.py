"""Opens a gRPC server: one port, one interceptor, health, reflection, TLS where it is configured."""

from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection

from services.kernel.errors import InvalidInput, Unavailable
from services.rpc.authorization import Authorizer, parse_keys
from services.rpc.channel import MESSAGE_BYTES_MAX
from services.rpc.health import Health
from services.rpc.interceptor import CallInterceptor
from services.rpc.settings import Settings

CONCURRENT_CALLS_MAX = 1_000

log = structlog.get_logger()

_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


def call_interceptor(settings: Settings) -> CallInterceptor:
    """What goes around every call; raises InvalidInput for malformed keys, or none where keys are needed."""
    authorizer = parse_keys(settings.text("METERLOG_API_KEYS"))
    _require_keys_off_loopback(settings.text("METERLOG_LISTEN"), authorizer)
    return CallInterceptor(authorizer)


async def open_server(
    settings: Settings,
    faces: Sequence[tuple[str, Callable[[grpc.aio.Server], None]]],
    health: Health,
    interceptor: CallInterceptor,
) -> grpc.aio.Server:
    """A server with its port bound and not started; raises InvalidInput or Unavailable when it cannot be had."""
    address = settings.text("METERLOG_LISTEN")
    server = grpc.aio.server(
        interceptors=(interceptor,), options=_OPTIONS, maximum_concurrent_rpcs=CONCURRENT_CALLS_MAX
    )
    for _, register in faces:
        register(server)
    await health.register(server)
    names = [name for name, _ in faces]
    health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    reflection.enable_server_reflection((*names, health_name, reflection.SERVICE_NAME), server)
    _bind(server, address, _credentials(settings))
    return server


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> None:
    try:
        if credentials is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise Unavailable(
            f"cannot listen on {address}: it is in use or not of this machine; free it, or set METERLOG_LISTEN"
        ) from error


def _require_keys_off_loopback(address: str, authorizer: Authorizer) -> None:
    if not authorizer.is_open:
        return
    host = address.rpartition(":")[0].strip("[]")
    if host not in ("127.0.0.1", "::1", "localhost"):
        raise InvalidInput(
            f"METERLOG_LISTEN is {address} and no METERLOG_API_KEYS are set: everybody could write usage. "
            "Set keys, or listen on 127.0.0.1",
            field="METERLOG_API_KEYS",
        )
    log.warning("open to everybody on this machine: no METERLOG_API_KEYS are set", address=address)


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    certificate, key = settings.text("METERLOG_TLS_CERT"), settings.text("METERLOG_TLS_KEY")
    authority = settings.text("METERLOG_TLS_CLIENT_CA")
    if not certificate and not key and not authority:
        return None
    if not (certificate and key):
        raise InvalidInput("METERLOG_TLS_CERT and METERLOG_TLS_KEY go together", field="METERLOG_TLS_CERT")
    return grpc.ssl_server_credentials(
        [(_read(key), _read(certificate))],
        root_certificates=_read(authority) if authority else None,
        require_client_auth=bool(authority),
    )


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", field="METERLOG_TLS_CERT") from error
