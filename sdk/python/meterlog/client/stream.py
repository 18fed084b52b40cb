"""Batches of usage on one connection: what is on its way, what must be sent again, and answers in the caller's order.

Pure bookkeeping, without threads or network; the synchronous and the asyncio client wrap it.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from meterlog.client.failure import Failure
from meterlog.client.result import UsageResult, results_of, undelivered
from meterlog.client.retry import RETRIED_STATUSES
from meterlog.ingest.v1.ingest_pb2 import (
    BatchRefusal,
    RecordUsageResponse,
    RecordUsageStreamRequest,
    RecordUsageStreamResponse,
    UsageEvent,
)

BATCHES_IN_FLIGHT = 8

_STATUS_NAMES = {
    1: "CANCELLED", 2: "UNKNOWN", 3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION", 10: "ABORTED", 11: "OUT_OF_RANGE",
    12: "UNIMPLEMENTED", 13: "INTERNAL", 14: "UNAVAILABLE", 15: "DATA_LOSS", 16: "UNAUTHENTICATED",
}  # fmt: skip


@dataclass(slots=True)
class _OnItsWay:
    request: RecordUsageStreamRequest
    results: tuple[UsageResult, ...] | None = None


class StreamWindow:
    """The batches of one stream between the caller and the service, at most `size` of them."""

    def __init__(self, size: int, atomic: bool, backfill: str) -> None:
        self._size = size
        self._atomic = atomic
        self._backfill = backfill
        self._next_sequence = 1
        self._batches: deque[_OnItsWay] = deque()

    @property
    def has_room(self) -> bool:
        """Whether another batch may be added."""
        return len(self._batches) < self._size

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is outstanding."""
        return any(batch.results is None for batch in self._batches)

    @property
    def unanswered_count(self) -> int:
        """How many usage events have no answer."""
        return sum(len(request.events) for request in self.unanswered())

    def add(self, events: Sequence[UsageEvent]) -> RecordUsageStreamRequest:
        """The request for the caller's next batch."""
        request = RecordUsageStreamRequest(
            sequence=self._next_sequence, events=events, atomic=self._atomic, backfill=self._backfill
        )
        self._next_sequence += 1
        self._batches.append(_OnItsWay(request))
        return request

    def unanswered(self) -> tuple[RecordUsageStreamRequest, ...]:
        """What must be sent again on a new connection, in order."""
        return tuple(batch.request for batch in self._batches if batch.results is None)

    def answer(self, response: RecordUsageStreamResponse) -> Failure | None:
        """Take an answer; a refusal that may pass is returned, and its batch is to be sent again."""
        batch = next((each for each in self._batches if each.request.sequence == response.sequence), None)
        if batch is None:
            return None
        if not response.HasField("refusal"):
            whole = RecordUsageResponse(results=response.results)
            batch.results = results_of(batch.request.events, whole)
            return None
        failure = refusal_failure(response.refusal)
        if failure.status in RETRIED_STATUSES:
            return failure
        batch.results = undelivered(batch.request.events, failure)
        return None

    def give_up(self, failure: Failure) -> None:
        """Everything that has no answer is undelivered."""
        for batch in self._batches:
            if batch.results is None:
                batch.results = undelivered(batch.request.events, failure)

    def take_ready(self) -> list[tuple[UsageResult, ...]]:
        """The results of the oldest batches, as far as they are answered without a gap."""
        ready: list[tuple[UsageResult, ...]] = []
        while self._batches and (results := self._batches[0].results) is not None:
            ready.append(results)
            self._batches.popleft()
        return ready


def refusal_failure(refusal: BatchRefusal) -> Failure:
    """Why a whole batch was refused, as the failure of a call."""
    return Failure(_STATUS_NAMES.get(refusal.code, "UNKNOWN"), refusal.message, refusal.reason)
