"""How usage events are queued, gathered into batches and sent."""

from dataclasses import dataclass, field
from enum import StrEnum

from meterlog.client.errors import WrongValue
from meterlog.client.retry import RetryPolicy

EVENTS_PER_REQUEST_MAX = 10_000
REQUEST_BYTES_MAX = 3 * 1024 * 1024
"""A request stays below the 4 MiB that a gRPC server receives by default."""


class WhenFull(StrEnum):
    """What `record` does when the queue is full; it never drops a usage event."""

    BLOCK = "block"
    """Wait for room, at most `block_timeout_s`, then raise QueueFull."""
    RAISE = "raise"
    """Raise QueueFull at once."""


@dataclass(frozen=True, slots=True)
class Sending:
    """How usage events are queued, gathered into batches and sent.

    A batch goes out when it has `batch_events_max` events or `batch_bytes_max` bytes, or when its first event has
    waited `linger_s`; at most `in_flight_max` batches are on their way at once, so events of one client may be
    recorded in another order. The queue counts every event without an answer, `queue_events_max` of them and
    `queue_bytes_max` bytes. `close` and the flush at exit wait `close_timeout_s`.
    """

    batch_events_max: int = 500
    batch_bytes_max: int = 1024 * 1024
    linger_s: float = 0.05
    in_flight_max: int = 4
    queue_events_max: int = 50_000
    queue_bytes_max: int = 64 * 1024 * 1024
    when_full: WhenFull = WhenFull.BLOCK
    block_timeout_s: float = 30.0
    close_timeout_s: float = 30.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        if not 1 <= self.batch_events_max <= EVENTS_PER_REQUEST_MAX:
            raise WrongValue(f"batch_events_max is {self.batch_events_max}; use 1 to {EVENTS_PER_REQUEST_MAX}")
        if not 1 <= self.batch_bytes_max <= REQUEST_BYTES_MAX:
            raise WrongValue(f"batch_bytes_max is {self.batch_bytes_max}; use 1 to {REQUEST_BYTES_MAX}")
        if min(self.in_flight_max, self.queue_events_max, self.queue_bytes_max) < 1:
            raise WrongValue("in_flight_max, queue_events_max and queue_bytes_max are at least 1")
