"""How clients of the storm call: again until there is an answer; what a killed service does to a call is no answer."""

import threading
from collections.abc import Callable
from typing import TypeVar

import grpc

from services.kernel.clock import monotonic_s
from tests.crash.metering.ledger import Ledger

CALL_TIMEOUT_S = 20.0
PAUSE_S = 0.05

NO_ANSWER = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
)

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
        if code not in NO_ANSWER:
            ledger.complain(f"{what}: {code.name}: {details}")
        raise NoAnswer(f"{code.name}: {details}") from error


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
