"""How clients of the storm call: again until there is an answer; what a killed service does to a call is no answer."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import grpc

from services.kernel.clock import monotonic_s
from tests.crash.metering.ledger import Ledger

CALL_TIMEOUT_S = 20.0
PAUSE_S = 0.05

NO_ANSWER = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
)

FOLLOWS = "REPLICA_FOLLOWS"
"""The reason that a replica gives which is not the one to order about."""

T = TypeVar("T")


class NoAnswer(Exception):
    """The service is gone, not ready, or says to come again."""


def once(call: Callable[[], T], ledger: Ledger, what: str) -> T:
    """The answer; raises NoAnswer, also for one that should not be, which the ledger then holds."""
    try:
        return call()
    except grpc.RpcError as error:
        code, details = error.code(), error.details()
        ledger.lose()
        # Who asks all replicas finds the one that folds, or there is none at the moment.
        if code not in NO_ANSWER and not has_reason(error, FOLLOWS):
            ledger.complain(f"{what}: {code.name}: {details}")
        raise NoAnswer(f"{code.name}: {details}") from error


def of_leader(addresses: Sequence[str], call: Callable[[grpc.Channel], T]) -> T:
    """The answer of the replica that folds, of those at these addresses; raises as the last of them does."""
    *others, last = addresses
    for address in others:
        try:
            with grpc.insecure_channel(address) as channel:
                return call(channel)
        except grpc.RpcError as error:
            if not _may_be_another(error):
                raise
    with grpc.insecure_channel(last) as channel:
        return call(channel)


def _may_be_another(error: grpc.RpcError) -> bool:
    return error.code() == grpc.StatusCode.UNAVAILABLE or has_reason(error, FOLLOWS)


def has_reason(error: grpc.RpcError, reason: str) -> bool:
    """Whether an error gives this reason."""
    values = (each.value for each in error.trailing_metadata() or ())
    return any(reason.encode() in value for value in values if isinstance(value, bytes))


def until_answered(
    call: Callable[[], T], ledger: Ledger, what: str, stop: threading.Event, timeout_s: float | None = None
) -> T | None:
    """Call again until there is an answer; None when told to stop, or out of time."""
    deadline_s = None if timeout_s is None else monotonic_s() + timeout_s
    while not stop.is_set() and (deadline_s is None or monotonic_s() < deadline_s):
        try:
            return once(call, ledger, what)
        except NoAnswer:
            stop.wait(PAUSE_S)
    return None
