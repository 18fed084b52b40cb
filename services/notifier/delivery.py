"""One message on its way to one endpoint, and the attempts to get it there. Stream: delivery-<message>/<endpoint>.

Attempt n is event n-1 of the stream, so two workers can never record two outcomes of one attempt.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from meterlog.events.v1.webhook_pb2 import WebhookDeliveryAttempted
from services.eventstore.event import StreamName
from services.kernel.timestamp import to_timestamp

CATEGORY = "delivery"
EXCERPT_BYTES_MAX = 1_024
OUTCOME_SUCCEEDED, OUTCOME_FAILED, OUTCOME_DRY_RUN = "succeeded", "failed", "dry_run"

DeliveryKey: TypeAlias = tuple[str, str]
"""The message's id, then the endpoint's key."""


class DeliveryState(StrEnum):
    """Where a delivery stands; only a pending one has an attempt to come."""

    PENDING = "pending"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    CANCELLED = "cancelled"
    DRY_RUN = "dry_run"


class Failure(StrEnum):
    """Why an attempt failed."""

    TIMEOUT = "timeout"
    DNS = "dns"
    CONNECTION = "connection"
    TLS = "tls"
    PROTOCOL = "protocol"
    STATUS = "status"
    REDIRECT = "redirect"
    BLOCKED_ADDRESS = "blocked_address"
    BLOCKED_SCHEME = "blocked_scheme"
    INVALID_URL = "invalid_url"
    UNFORESEEN = "unforeseen"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back of a post: an HTTP status with the begin of the body, or why none came (status 0).

    `retry_after_s` is what the receiver asked for, counted from the answer.
    """

    status: int = 0
    failure: Failure | None = None
    excerpt: bytes = b""
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attempt means for its delivery, and whether the endpoint asked never to be sent to again."""

    state: DeliveryState
    failure: Failure | None = None
    next_attempt_at: datetime | None = None
    is_gone: bool = False

    @property
    def is_success(self) -> bool:
        """Whether nothing went wrong, dry runs included."""
        return self.failure is None


DRY_RUN = Verdict(DeliveryState.DRY_RUN)


def delivery_stream(key: DeliveryKey) -> StreamName:
    """The stream of one delivery."""
    return StreamName(CATEGORY, "/".join(key))


def expected_version(attempt: int) -> int:
    """The version that the stream has before attempt `attempt` is recorded; NO_STREAM for the first."""
    return attempt - 2


def attempted(
    key: DeliveryKey, attempt: int, attempted_at: datetime, duration_ms: int, answer: Answer, verdict: Verdict
) -> WebhookDeliveryAttempted:
    """The event that records one attempt."""
    message_id, endpoint = key
    event = WebhookDeliveryAttempted(
        message_id=message_id,
        endpoint=endpoint,
        attempt=attempt,
        outcome=_outcome(verdict),
        status=answer.status,
        error=verdict.failure or "",
        delivery_state=verdict.state,
        duration_ms=duration_ms,
        response_excerpt=answer.excerpt,
        attempted_at=to_timestamp(attempted_at),
    )
    if verdict.next_attempt_at is not None:
        event.next_attempt_at.CopyFrom(to_timestamp(verdict.next_attempt_at))
    return event


def _outcome(verdict: Verdict) -> str:
    if verdict.state is DeliveryState.DRY_RUN:
        return OUTCOME_DRY_RUN
    return OUTCOME_SUCCEEDED if verdict.is_success else OUTCOME_FAILED
