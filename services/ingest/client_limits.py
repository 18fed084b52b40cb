"""Limits per client: how many usage events a second, how many calls and streams at once.

A client is the name of an API key, and nothing that it sends.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
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
STREAMS_CONCURRENT: Final = Setting(
    "METERLOG_CLIENT_STREAMS_CONCURRENT",
    "16",
    "Streams that one API key may have open in a replica; each may hold a message that is not counted yet.",
)
STREAMS_MAX: Final = 64
"""Open streams of all clients. gRPC holds up to one message of 16 MiB of each before a batch asks to be let in."""
BURST_S: Final = 2
"""A client that was quiet may send at once what it may send in so many seconds."""

_CALLS_RETRY_AFTER_S: Final = 0.1
_STREAMS_RETRY_AFTER_S: Final = 1.0


@dataclass(slots=True)
class _Bucket:
    """What a client may still send, as of an instant; below zero after a batch larger than what was left."""

    tokens: float
    at_s: float


class ClientLimits:
    """Counts what each client has under way and sent lately. Belongs to one event loop."""

    def __init__(
        self,
        usage_per_second: int,
        calls_max: int,
        now_s: Callable[[], float] = monotonic_s,
        *,
        streams_max: int = int(STREAMS_CONCURRENT.default),
    ) -> None:
        """`usage_per_second` 0 sets no limit; `streams_max` is that of one client."""
        self._rate = usage_per_second
        self._calls_max = calls_max
        self._streams_max = streams_max
        self._now_s = now_s
        self._calls: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._buckets: dict[str, _Bucket] = {}

    @staticmethod
    def of(settings: Settings) -> "ClientLimits":
        """The limits that are configured; raises InvalidInput for an impossible setting."""
        return ClientLimits(
            settings.integer(USAGE_PER_SECOND.name),
            settings.integer(CALLS_CONCURRENT.name, minimum=1),
            streams_max=settings.integer(STREAMS_CONCURRENT.name, minimum=1),
        )

    def begin_call(self, client: str) -> None:
        """Count a call until `end_call`; raises Overloaded (CLIENT_CALLS_TOO_MANY), and then it is not counted."""
        if self._calls[client] >= self._calls_max:
            raise _too_many(
                f'client "{client}" has {self._calls[client]} calls under way, as many as it may; '
                "wait for their answers, or put more usage events into a call",
                "CLIENT_CALLS_TOO_MANY",
                _CALLS_RETRY_AFTER_S,
            )
        self._calls[client] += 1

    def end_call(self, client: str) -> None:
        """A call that was counted has ended."""
        self._calls[client] -= 1

    def begin_stream(self, client: str) -> None:
        """Count a call that is a stream until `end_stream`; refused, it is not counted.

        Raises Overloaded: CLIENT_STREAMS_TOO_MANY, STREAMS_TOO_MANY when all clients together have STREAMS_MAX, and
        CLIENT_CALLS_TOO_MANY.
        """
        if self._streams[client] >= self._streams_max:
            raise _too_many(
                f'client "{client}" has {self._streams[client]} streams open, as many as it may; '
                "send more batches through each, or close some",
                "CLIENT_STREAMS_TOO_MANY",
                _STREAMS_RETRY_AFTER_S,
            )
        if self._streams.total() >= STREAMS_MAX:
            raise _too_many(
                f"{STREAMS_MAX} streams are open, as many as this replica takes; send batches by RecordUsage, or try "
                "again later",
                "STREAMS_TOO_MANY",
                _STREAMS_RETRY_AFTER_S,
            )
        self.begin_call(client)
        self._streams[client] += 1

    def end_stream(self, client: str) -> None:
        """A stream that was counted has ended."""
        self._streams[client] -= 1
        self.end_call(client)

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


def _too_many(message: str, reason: str, retry_after_s: float) -> Overloaded:
    return Overloaded(message, reason=reason, metadata={RETRY_AFTER_MS: str(round(retry_after_s * 1_000))})
