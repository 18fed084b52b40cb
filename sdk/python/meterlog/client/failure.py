"""Why a call failed, read from the status and the details that the service sent along."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Failure:
    """A refused or unanswered call: `status` is the gRPC status name, `reason` the service's UPPER_SNAKE reason.

    `field` is the dotted path of the request's field at fault; both are empty when the service named none. `position`
    is that of what was decided in the log when the reason is STILL_COUNTING, else 0.
    """

    status: str
    message: str
    reason: str = ""
    field: str = ""
    position: int = 0


def failure_of(error: grpc.RpcError) -> Failure:
    """The failure that a gRPC error stands for, synchronous or asyncio."""
    message = error.details() or "no message"
    reason, field, position = "", "", ""
    for detail in _details(error).details:
        info, request = ErrorInfo(), BadRequest()
        if detail.Unpack(info):
            reason, position = info.reason, info.metadata.get("position", "")
        elif detail.Unpack(request) and request.field_violations:
            field = request.field_violations[0].field
    return Failure(error.code().name, message, reason, field, int(position) if position.isdecimal() else 0)


def _details(error: grpc.RpcError) -> Status:
    status = Status()
    metadata = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, content in metadata:
        if key == _DETAILS_KEY and isinstance(content, bytes):
            try:
                status.ParseFromString(content)
            except DecodeError:
                return Status()
    return status
