"""What follows from an attempt: delivered, tried again later, given up, or cancelled because the receiver is gone.

The schedule and the rules for 410, 429, 502, 504 and Retry-After are those of Standard Webhooks 1.0.0.
"""

import hashlib
from datetime import datetime, timedelta

from services.notifier.delivery import Answer, DeliveryKey, DeliveryState, Failure, Verdict

SCHEDULE = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""Waiting time before each attempt, counted from the end of the one before, give or take JITTER_PERMILLE."""

ATTEMPTS_MAX = len(SCHEDULE)
JITTER_PERMILLE = 200
THROTTLED_DELAY_MIN = timedelta(seconds=60)
RETRY_AFTER_MAX = timedelta(hours=24)

GONE = 410
THROTTLING = frozenset({429, 502, 503, 504})
CANNOT_MEND = frozenset({Failure.BLOCKED_ADDRESS, Failure.BLOCKED_SCHEME, Failure.INVALID_URL})


def verdict(answer: Answer, key: DeliveryKey, attempt: int, answered_at: datetime) -> Verdict:
    """What the answer to attempt `attempt` (from 1) means. The same arguments give the same verdict."""
    failure = failure_of(answer)
    if failure is None:
        return Verdict(DeliveryState.DELIVERED)
    if answer.status == GONE:
        return Verdict(DeliveryState.CANCELLED, failure, is_gone=True)
    if failure in CANNOT_MEND or attempt >= ATTEMPTS_MAX:
        return Verdict(DeliveryState.EXHAUSTED, failure)
    return Verdict(DeliveryState.PENDING, failure, answered_at + _delay(answer, failure, key, attempt))


def failure_of(answer: Answer) -> Failure | None:
    """Why an answer is a failure; None for a 2xx status, and for nothing else. Redirects are not followed."""
    if answer.failure is not None or 200 <= answer.status < 300:
        return answer.failure
    return Failure.REDIRECT if 300 <= answer.status < 400 else Failure.STATUS


def _delay(answer: Answer, failure: Failure, key: DeliveryKey, attempt: int) -> timedelta:
    """The longest of schedule, throttling and what the receiver asks for; the last at most RETRY_AFTER_MAX."""
    delay = _jittered(SCHEDULE[attempt], key, attempt)
    if failure is Failure.TIMEOUT or answer.status in THROTTLING:
        delay = max(delay, THROTTLED_DELAY_MIN)
    if answer.retry_after_s is not None:
        delay = max(delay, min(timedelta(seconds=answer.retry_after_s), RETRY_AFTER_MAX))
    return delay


def _jittered(delay: timedelta, key: DeliveryKey, attempt: int) -> timedelta:
    """Spread over ±JITTER_PERMILLE by a hash of the delivery and the attempt, so that a repeat gives the same."""
    digest = hashlib.sha256(f"{'/'.join(key)}/{attempt}".encode()).digest()
    permille = 1_000 - JITTER_PERMILLE + int.from_bytes(digest[:8], "big") % (2 * JITTER_PERMILLE + 1)
    return delay * permille // 1_000
