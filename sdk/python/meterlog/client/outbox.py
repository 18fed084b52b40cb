"""The usage events of one client that have no answer yet: what waits, what is on its way, what became of the rest.

Pure bookkeeping, without threads, clock or network; the synchronous and the asyncio client wrap it. Events are
numbered from 1 in the order they were added.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from meterlog.client.result import UsageOutcome, UsageResult
from meterlog.client.sending import REQUEST_BYTES_MAX, Sending
from meterlog.ingest.v1.ingest_pb2 import UsageEvent

_FRAMING_BYTES = 5
"""Tag and length in front of an event inside a request."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One usage event without an answer; `answer` is called once with what became of it."""

    number: int
    event: UsageEvent
    size_bytes: int
    queued_at_s: float
    answer: Callable[[UsageResult], None]


@dataclass(frozen=True, slots=True)
class Batch:
    """Usage events that go out in one request, oldest first; never empty."""

    entries: tuple[Entry, ...]

    @property
    def events(self) -> tuple[UsageEvent, ...]:
        """The messages, in the order of the request."""
        return tuple(entry.event for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Counters:
    """How many usage events the client took, and what became of them; `unanswered` are queued or on their way."""

    taken: int
    recorded: int
    duplicate: int
    conflict: int
    invalid: int
    undelivered: int
    unanswered: int


class Outbox:
    """Holds every usage event from `add` until `settle`."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending
        self._waiting: deque[Entry] = deque()
        self._waiting_bytes = 0
        self._in_flight: dict[int, Batch] = {}
        self._unanswered = 0
        self._unanswered_bytes = 0
        self._last_number = 0
        self._hurried_number = 0
        self._outcomes: Counter[UsageOutcome] = Counter()

    def has_room(self, size_bytes: int) -> bool:
        """Whether an event of this size may be added; an empty outbox takes any."""
        return self._unanswered == 0 or (
            self._unanswered < self._sending.queue_events_max
            and self._unanswered_bytes + size_bytes <= self._sending.queue_bytes_max
        )

    def add(self, event: UsageEvent, size_bytes: int, answer: Callable[[UsageResult], None], now_s: float) -> bool:
        """Queue one usage event; whether a sender should look: it is the only one, or a batch is full."""
        self._last_number += 1
        self._waiting.append(Entry(self._last_number, event, size_bytes, now_s, answer))
        self._waiting_bytes += size_bytes
        self._unanswered += 1
        self._unanswered_bytes += size_bytes
        return len(self._waiting) == 1 or self._has_full_batch()

    def due_in_s(self, now_s: float) -> float | None:
        """Seconds until a batch should go out, 0 for now; None when nothing waits."""
        if not self._waiting:
            return None
        oldest = self._waiting[0]
        if self._has_full_batch() or oldest.number <= self._hurried_number:
            return 0.0
        return max(0.0, oldest.queued_at_s + self._sending.linger_s - now_s)

    def take(self) -> Batch:
        """The oldest waiting events, as many as one batch holds and at least one; they are on their way now."""
        taken = [self._waiting.popleft()]
        size_bytes = taken[0].size_bytes
        while self._waiting and len(taken) < self._sending.batch_events_max:
            size_bytes += self._waiting[0].size_bytes
            if size_bytes > self._sending.batch_bytes_max:
                break
            taken.append(self._waiting.popleft())
        self._waiting_bytes -= sum(entry.size_bytes for entry in taken)
        batch = Batch(tuple(taken))
        self._in_flight[taken[0].number] = batch
        return batch

    def settle(self, batch: Batch, results: Sequence[UsageResult]) -> None:
        """Forget a batch that was answered."""
        del self._in_flight[batch.entries[0].number]
        self._unanswered -= len(batch.entries)
        self._unanswered_bytes -= sum(entry.size_bytes for entry in batch.entries)
        self._outcomes.update(result.outcome for result in results)

    def refuse(self, result: UsageResult) -> None:
        """Count a usage event that was answered without being sent."""
        self._last_number += 1
        self._outcomes[result.outcome] += 1

    def hurry(self) -> int:
        """Let everything queued so far go out without lingering; its last number, for `is_settled`."""
        self._hurried_number = self._last_number
        return self._last_number

    def is_settled(self, number: int) -> bool:
        """Whether every event up to this number was answered."""
        is_waiting = self._waiting and self._waiting[0].number <= number
        return not is_waiting and all(first > number for first in self._in_flight)

    def recall(self) -> None:
        """Put what is on its way back to the front of the queue: whoever carried it is gone."""
        for first in sorted(self._in_flight, reverse=True):
            batch = self._in_flight.pop(first)
            self._waiting.extendleft(reversed(batch.entries))
            self._waiting_bytes += sum(entry.size_bytes for entry in batch.entries)

    @property
    def has_waiting(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._waiting)

    @property
    def counters(self) -> Counters:
        """The counts so far."""
        return Counters(
            taken=self._last_number,
            recorded=self._outcomes[UsageOutcome.RECORDED],
            duplicate=self._outcomes[UsageOutcome.DUPLICATE],
            conflict=self._outcomes[UsageOutcome.CONFLICT],
            invalid=self._outcomes[UsageOutcome.INVALID],
            undelivered=self._outcomes[UsageOutcome.UNDELIVERED],
            unanswered=self._unanswered,
        )

    def _has_full_batch(self) -> bool:
        return (
            len(self._waiting) >= self._sending.batch_events_max or self._waiting_bytes >= self._sending.batch_bytes_max
        )


def size_of(event: UsageEvent) -> int:
    """Bytes that the event takes inside a request."""
    return event.ByteSize() + _FRAMING_BYTES


def too_large(event: UsageEvent, size_bytes: int) -> UsageResult | None:
    """The answer to an event that fits no request; None when it fits."""
    if size_bytes <= REQUEST_BYTES_MAX:
        return None
    return UsageResult(
        event.source,
        event.id,
        UsageOutcome.INVALID,
        reason="EVENT_TOO_LARGE",
        message=f"the usage event takes {size_bytes} bytes, a request holds {REQUEST_BYTES_MAX}; shorten its texts",
    )
