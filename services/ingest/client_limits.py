"""Limits per client: how many usage events a second, and how many calls at once. A client is the name of an API key."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from services.kernel.clock import monotonic_s
from services.kernel.errors import Overloaded
from services.rpc.errors import RETRY_AFTER_MS
from services.rpc.settings import Setting, Settings

USAGE_PER_SECOND: Final = Setting(
    "METERLOG_CLIENT_USAGE_PER_SECOND",
    "0",
    "Usage events a second that one API key may send to a replica; 0: no limit.",
)
CALLS_CONCURRENT: Final = Setting(
    "METERLOG_CLIENT_CALLS_CONCURRENT",
    "256",
    "Calls that one API key may have under way in a replica; a stream is one.",
)
BURST_S: Final = 2
"""A client that was quiet may send at once what it may send in so many seconds."""

_CALLS_RETRY_AFTER_S: Final = 0.1


@dataclass(slots=True)
class _Bucket:
    """What a client may still send, as of an instant; below zero after a batch larger than what was left."""

    tokens: float
    at_s: float


class ClientLimits:
    """Counts what each client has under way and sent lately. Belongs to one event loop."""

    def __init__(self, usage_per_second: int, calls_max: int, now_s: Callable[[], float] = monotonic_s) -> None:
        """`usage_per_second` 0 sets no limit."""
        self._rate = usage_per_second
        self._calls_max = calls_max
        self._now_s = now_s
        self._calls: Counter[str] = Counter()
        self._buckets: dict[str, _Bucket] = {}

    @staticmethod
    def of(settings: Settings) -> "ClientLimits":
        """The limits that are configured; raises InvalidInput for an impossible setting."""
        return ClientLimits(settings.integer(USAGE_PER_SECOND.name), settings.integer(CALLS_CONCURRENT.name, minimum=1))

    @contextmanager
    def call(self, client: str) -> Iterator[None]:
        """Count a call until the end of the block; raises Overloaded (CLIENT_CALLS_TOO_MANY)."""
        if self._calls[client] >= self._calls_max:
            raise Overloaded(
                f'client "{client}" has {self._calls[client]} calls under way, as many as it may; '
                "wait for their answers, or put more usage events into a call",
                reason="CLIENT_CALLS_TOO_MANY",
                metadata={RETRY_AFTER_MS: str(round(_CALLS_RETRY_AFTER_S * 1_000))},
            )
        self._calls[client] += 1
        try:
            yield
        finally:
            self._calls[client] -= 1

    def calls_under_way(self) -> int:
        """How many calls of all clients have not ended."""
        return self._calls.total()

    def take(self, client: str, usage_events: int) -> None:
        """Count usage events; raises Overloaded (CLIENT_RATE_EXCEEDED) that says how long to wait.

        A batch is let in whole as soon as anything is left, and what it takes too much the next ones wait for.
        """
        wait_s = self.wait_s(client)
        if wait_s > 0:
            raise Overloaded(
                f'client "{client}" may send {self._rate} usage events a second and sent more; '
                f"wait {wait_s:.3f} s, then send the same again",
                reason="CLIENT_RATE_EXCEEDED",
                metadata={RETRY_AFTER_MS: str(-int(-wait_s * 1_000 // 1))},
            )
        if self._rate:
            self._bucket(client).tokens -= usage_events

    async def wait(self, client: str) -> None:
        """Return when the client may send again, if no other call of it is first; the caller sets a timeout."""
        wait_s = self.wait_s(client)
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    def wait_s(self, client: str) -> float:
        """Seconds until the client may send again; 0 for now."""
        if not self._rate:
            return 0.0
        missing = 1 - self._bucket(client).tokens
        return max(0.0, missing / self._rate)

    def _bucket(self, client: str) -> _Bucket:
        now_s, burst = self._now_s(), max(1, self._rate * BURST_S)
        bucket = self._buckets.setdefault(client, _Bucket(burst, now_s))
        bucket.tokens = min(burst, bucket.tokens + (now_s - bucket.at_s) * self._rate)
        bucket.at_s = now_s
        return bucket
