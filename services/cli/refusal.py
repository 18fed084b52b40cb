"""What a failed gRPC call means to a person: the service's own words and reason, or that nobody answers."""

from typing import Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from services.cli.failure import CommandFailed
from services.kernel.errors import FieldViolation
from services.rpc.errors import DETAILS_KEY

REPLICA_FOLLOWS: Final = "REPLICA_FOLLOWS"
"""The reason of a service that another replica must be asked instead of this one."""


class CallFailed(CommandFailed):
    """A service refused a call or did not answer; `code` is the canonical status."""

    def __init__(
        self, message: str, reason: str, code: grpc.StatusCode, violations: tuple[FieldViolation, ...] = ()
    ) -> None:
        super().__init__(message, reason=reason, violations=violations)
        self.code = code


def explain(service: str, address: str, error: grpc.Call) -> CallFailed:
    """What a failed call means to a person: the service's own words, or that nobody answers."""
    code = error.code() or grpc.StatusCode.UNKNOWN
    status = _status_of(error)
    if status is None:
        return CallFailed(_unexplained(service, address, code, error.details() or ""), code.name, code)
    info, request = ErrorInfo(), BadRequest()
    for detail in status.details:
        _ = detail.Unpack(info) or detail.Unpack(request)
    violations = tuple(FieldViolation(each.field, each.description) for each in request.field_violations)
    advice = f"; {how_to_reach(service)}" if info.reason == REPLICA_FOLLOWS else ""
    return CallFailed(status.message + advice, info.reason or code.name, code, violations)


def how_to_reach(service: str) -> str:
    """What to do when another replica of the service must be asked."""
    return f"set METERLOG_{service.upper()}_ADDRESS to where that one answers"


def _status_of(error: grpc.Call) -> Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return Status.FromString(value)
            except DecodeError:
                return None
    return None


def _unexplained(service: str, address: str, code: grpc.StatusCode, details: str) -> str:
    if code is grpc.StatusCode.UNAVAILABLE:
        return (
            f"the {service} service does not answer at {address}; start it with `meterlog up`, "
            f"or set METERLOG_{service.upper()}_ADDRESS"
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"the {service} service at {address} did not answer in time; repeat later"
    return f"the {service} service at {address} failed: {code.name.lower()} {details}".rstrip()
