"""What the client of KurrentDB raises, as errors that a caller can act on."""

from typing import Final

from kurrentdbclient.exceptions import (
    AccessDeniedError,
    CancelledError,
    DeadlineExceededError,
    DiscoveryFailedError,
    InvalidCommitPositionError,
    KurrentDBClientError,
    MaximumAppendSizeExceededError,
    NodeIsNotLeaderError,
    RecordMaxSizeExceededError,
    ServiceUnavailableError,
    SSLError,
    StreamIsDeletedError,
    StreamTombstonedError,
    TransactionMaxSizeExceededError,
    UnauthenticatedError,
)

from services.eventstore.store import POSITION_NOT_IN_LOG
from services.kernel.errors import Corrupt, DomainError, InvalidInput, RuleViolated, Unavailable

NOT_REACHED: Final = "LOG_NOT_REACHED"
NO_LEADER: Final = "LOG_HAS_NO_LEADER"
NO_ANSWER: Final = "LOG_DOES_NOT_ANSWER"
INTERRUPTED: Final = "LOG_INTERRUPTED"

_PASSING = {NOT_REACHED, NO_LEADER, NO_ANSWER, INTERRUPTED}
_DETAIL_LENGTH_MAX = 200

_REMEDIES: tuple[tuple[type[KurrentDBClientError], str, str], ...] = (
    (SSLError, "LOG_TLS_FAILED", "does not agree on TLS; check Tls, TlsCaFile and the certificates of its nodes"),
    (ServiceUnavailableError, NOT_REACHED, "is not reached; start it, or check METERLOG_STORE_URL"),
    (DiscoveryFailedError, NO_LEADER, "shows no node that may be used; wait for its election, or check its nodes"),
    (NodeIsNotLeaderError, NO_LEADER, "is led by another node; name all nodes, or write kurrentdb+discover://"),
    (DeadlineExceededError, NO_ANSWER, "did not answer in time; check its load and the network"),
    (CancelledError, INTERRUPTED, "was cut off; repeat"),
    (
        UnauthenticatedError,
        "LOG_CREDENTIALS_REFUSED",
        "refuses the user; check user and password of METERLOG_STORE_URL",
    ),
    (AccessDeniedError, "LOG_ACCESS_DENIED", "lets this user not read $all or not write; put the user into $admins"),
)
"""The first line whose class matches; the order matters where one class is above another."""


def domain_error(error: KurrentDBClientError, nodes: str) -> DomainError:
    """The error for callers. It names the nodes, never the user; unknown errors count as passing."""
    if isinstance(error, MaximumAppendSizeExceededError | RecordMaxSizeExceededError | TransactionMaxSizeExceededError):
        return InvalidInput(
            f"the append is larger than KurrentDB at {nodes} takes ({_detail(error)}), headers of its events included; "
            "split it, or raise MaxAppendSize on the server",
            field="events",
            reason="TOO_LARGE",
        )
    if isinstance(error, StreamIsDeletedError | StreamTombstonedError):
        return Corrupt(
            f"a stream was deleted on KurrentDB at {nodes} ({_detail(error)}); restore the log from a backup"
        )
    if _is_about_position(error):
        return RuleViolated(
            f"KurrentDB at {nodes} has no event at this position: the log was replaced or cut short; rebuild the "
            "projection",
            reason=POSITION_NOT_IN_LOG,
        )
    for kind, reason, remedy in _REMEDIES:
        if isinstance(error, kind):
            return Unavailable(f"KurrentDB at {nodes} {remedy} ({_detail(error)})", reason=reason)
    return Unavailable(f"KurrentDB at {nodes} failed ({_detail(error)}); repeat", reason=INTERRUPTED)


def is_passing(error: DomainError) -> bool:
    """Whether the same call may succeed soon, so that it is worth repeating."""
    return isinstance(error, Unavailable) and error.reason in _PASSING


def _is_about_position(error: KurrentDBClientError) -> bool:
    """A subscription is refused with words only; the client has no class for it."""
    return isinstance(error, InvalidCommitPositionError) or "from an invalid position" in str(error)


def _detail(error: KurrentDBClientError) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:_DETAIL_LENGTH_MAX]
