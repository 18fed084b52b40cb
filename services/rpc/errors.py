"""The one mapping from domain errors to gRPC: canonical status, ErrorInfo, BadRequest, RetryInfo.

`google.rpc.code_pb2` is never imported: the KurrentDB client registers the same symbols, and both in one process clash.
"""

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from services.kernel.errors import (
    AlreadyExists,
    Conflict,
    Corrupt,
    DomainError,
    InvalidInput,
    NotFound,
    NotPermitted,
    Overloaded,
    RuleViolated,
    TimedOut,
    Unauthenticated,
    Unavailable,
)

ERROR_DOMAIN = "meterlog"
DETAILS_KEY = "grpc-status-details-bin"
TEXT_BYTES_MAX = 600
RETRY_AFTER_MS = "retry_after_ms"
"""Metadata of an error that says how long to wait; it travels as RetryInfo, too."""

STATUS_CODES: dict[type[DomainError], grpc.StatusCode] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    NotPermitted: grpc.StatusCode.PERMISSION_DENIED,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    RuleViolated: grpc.StatusCode.FAILED_PRECONDITION,
    Conflict: grpc.StatusCode.ABORTED,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    TimedOut: grpc.StatusCode.DEADLINE_EXCEEDED,
    Corrupt: grpc.StatusCode.DATA_LOSS,
}


def shortened(text: str) -> str:
    """At most TEXT_BYTES_MAX bytes of UTF-8: an error travels in the trailers three times, and they hold 8 KiB."""
    content = text.encode(errors="replace")
    return text if len(content) <= TEXT_BYTES_MAX else content[:TEXT_BYTES_MAX].decode(errors="ignore") + "…"


def status_code(error: DomainError) -> grpc.StatusCode:
    """The canonical code of an error, by the nearest class of the tree."""
    return next(STATUS_CODES[kind] for kind in type(error).__mro__ if kind in STATUS_CODES)


def status_details(error: DomainError) -> bytes:
    """The serialised google.rpc.Status that travels in the trailing metadata `grpc-status-details-bin`."""
    status = Status(code=status_code(error).value[0], message=shortened(error.message))
    metadata = {key: shortened(value) for key, value in error.metadata.items()}
    info = ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=metadata)
    status.details.append(_packed(info))
    if isinstance(error, InvalidInput) and error.violations:
        violations = [
            BadRequest.FieldViolation(field=shortened(violation.field), description=shortened(violation.description))
            for violation in error.violations
        ]
        status.details.append(_packed(BadRequest(field_violations=violations)))
    if RETRY_AFTER_MS in error.metadata:
        delay = Duration()
        delay.FromMilliseconds(int(error.metadata[RETRY_AFTER_MS]))
        status.details.append(_packed(RetryInfo(retry_delay=delay)))
    return bytes(status.SerializeToString())


def _packed(message: ErrorInfo | BadRequest | RetryInfo) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
