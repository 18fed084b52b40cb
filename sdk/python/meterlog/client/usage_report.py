"""What an ingest service was sent, by client, outcome and reason, and the question for it."""

from dataclasses import dataclass
from datetime import datetime

from meterlog.client.instant import instant_of
from meterlog.client.question import Question, ingest_question
from meterlog.client.result import OUTCOMES, UsageOutcome
from meterlog.ingest.v1 import ingest_pb2


@dataclass(frozen=True, slots=True)
class UsageReportRow:
    """How often usage of one client had one outcome, reason and field; what was said of the last of them, and when.

    `outcome` is None for whole requests that were refused; `count` counts requests then, else usage events.
    """

    client: str
    outcome: UsageOutcome | None
    reason: str
    field: str
    count: int
    last_message: str
    last_at: datetime


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What one process of the ingest service was sent since it started to count."""

    since: datetime
    rows: tuple[UsageReportRow, ...]


def usage_report() -> Question[UsageReport]:
    """The question for what was sent."""
    return ingest_question(
        "GetUsageReport", ingest_pb2.GetUsageReportRequest(), ingest_pb2.GetUsageReportResponse, _report
    )


def _report(answer: ingest_pb2.GetUsageReportResponse) -> UsageReport:
    return UsageReport(instant_of(answer.since), tuple(map(_row, answer.rows)))


def _row(row: ingest_pb2.UsageReportRow) -> UsageReportRow:
    return UsageReportRow(
        client=row.client,
        outcome=OUTCOMES.get(row.outcome),
        reason=row.reason,
        field=row.field,
        count=row.count,
        last_message=row.last_message,
        last_at=instant_of(row.last_at),
    )
