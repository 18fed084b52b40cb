"""What became of a usage event, as a value."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from meterlog.client.errors import NotRecorded
from meterlog.client.failure import Failure
from meterlog.ingest.v1 import ingest_pb2


class UsageOutcome(StrEnum):
    """What can become of a usage event."""

    RECORDED = "recorded"
    """Durable in the log, counted once."""
    DUPLICATE = "duplicate"
    """Recorded before with the same content, perhaps by a try whose answer was lost; not counted again."""
    CONFLICT = "conflict"
    """The same source and id is recorded with other content; not counted."""
    INVALID = "invalid"
    """Malformed; not recorded."""
    NOT_RECORDED = "not_recorded"
    """Well formed, but another of its atomic batch was invalid or in conflict; none of them is recorded."""
    UNDELIVERED = "undelivered"
    """No answer came, so nobody knows whether it is recorded. Safe to record again with the same source and id."""


@dataclass(frozen=True, slots=True)
class UsageResult:
    """What became of the usage event known by `source` and `id`.

    `position` is that of the log's event which holds it, 0 when none is known to. `reason` (UPPER_SNAKE), `field` and
    `message` say what was wrong unless it is in the log; `field` is empty when the service named none.
    """

    source: str
    id: str
    outcome: UsageOutcome
    position: int = 0
    reason: str = ""
    field: str = ""
    message: str = ""

    @property
    def is_in_log(self) -> bool:
        """Whether the usage event is in the log, by this try or an earlier one."""
        return self.outcome in (UsageOutcome.RECORDED, UsageOutcome.DUPLICATE)

    def require_in_log(self) -> None:
        """Raises NotRecorded, which shows this result, unless the usage event is in the log."""
        if not self.is_in_log:
            raise NotRecorded(self)


class Named(Protocol):
    """What a usage event is known by; its message, and that of a CloudEvent, are such."""

    @property
    def source(self) -> str: ...

    @property
    def id(self) -> str: ...


def results_of(
    events: Sequence[Named], response: ingest_pb2.RecordUsageResponse | ingest_pb2.RecordCloudEventsResponse
) -> tuple[UsageResult, ...]:
    """One result for each usage event of a batch; all undelivered when the answer does not fit the batch."""
    if len(response.results) != len(events) or any(row.outcome not in OUTCOMES for row in response.results):
        return undelivered(events, _BROKEN_ANSWER)
    return tuple(
        UsageResult(event.source, event.id, OUTCOMES[row.outcome], row.position, row.reason, row.field, row.message)
        for event, row in zip(events, response.results, strict=True)
    )


def undelivered(events: Sequence[Named], failure: Failure) -> tuple[UsageResult, ...]:
    """One result for each usage event of a batch that was given up."""
    reason = failure.reason or failure.status
    return tuple(
        UsageResult(event.source, event.id, UsageOutcome.UNDELIVERED, reason=reason, message=failure.message)
        for event in events
    )


OUTCOMES: dict[int, UsageOutcome] = {
    ingest_pb2.USAGE_OUTCOME_RECORDED: UsageOutcome.RECORDED,
    ingest_pb2.USAGE_OUTCOME_DUPLICATE: UsageOutcome.DUPLICATE,
    ingest_pb2.USAGE_OUTCOME_CONFLICT: UsageOutcome.CONFLICT,
    ingest_pb2.USAGE_OUTCOME_INVALID: UsageOutcome.INVALID,
    ingest_pb2.USAGE_OUTCOME_NOT_RECORDED: UsageOutcome.NOT_RECORDED,
}
"""What the service's outcomes are called here."""
CLIENT_CLOSED = Failure("CANCELLED", "the client was closed before an answer came", "CLIENT_CLOSED")
CLIENT_FAILED = Failure("INTERNAL", "the client itself failed; its log says how", "CLIENT_FAILED")
_BROKEN_ANSWER = Failure(
    "INTERNAL", "the answer does not fit the batch; check that client and service are of one version", "BROKEN_ANSWER"
)
