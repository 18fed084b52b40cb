"""Puts what became of usage events into the words of the API."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from meterlog.ingest.v1.ingest_pb2 import (
    USAGE_OUTCOME_CONFLICT,
    USAGE_OUTCOME_DUPLICATE,
    USAGE_OUTCOME_INVALID,
    USAGE_OUTCOME_NOT_RECORDED,
    USAGE_OUTCOME_RECORDED,
    USAGE_OUTCOME_UNSPECIFIED,
    GetUsageReportResponse,
    Receipt,
    RecordUsageColumnsResponse,
    RowResult,
    UsageOutcome,
    UsageReportRow,
    UsageResult,
)
from services.ingest.outcome_words import CONFLICT_MESSAGE, CONFLICT_REASON
from services.ingest.problem import Problem
from services.ingest.recording import Outcome, Recording, Written
from services.ingest.usage_report import Cause, Tally, UsageReport
from services.ingest.validate import Validated
from services.kernel.timestamp import to_timestamp

EXCEPTIONS_MAX: Final = 1_000
SHARED_MAX: Final = 64
"""Messages that are kept, for the requests of one group share theirs; nobody changes a message that was made."""

_OUTCOMES: Final[dict[int, "UsageOutcome.ValueType"]] = {
    Outcome.RECORDED: USAGE_OUTCOME_RECORDED,
    Outcome.DUPLICATE: USAGE_OUTCOME_DUPLICATE,
    Outcome.CONFLICT: USAGE_OUTCOME_CONFLICT,
    Outcome.NOT_RECORDED: USAGE_OUTCOME_NOT_RECORDED,
}


def results(validated: Validated, recording: Recording) -> Sequence[UsageResult]:
    """One result for each usage event of the request, in its order."""
    found = _results(recording)
    if not validated.problems:
        return found
    by_row = dict(zip(validated.rows.tolist(), found, strict=True))
    by_row.update({row: _invalid(problem) for row, problem in validated.problems.items()})
    return [by_row[row] for row in range(len(by_row))]


def receipts(recording: Recording) -> Sequence[Receipt]:
    """One receipt for each event of the log that was written."""
    return [_receipt(written) for written in recording.written]


def columns_answer(validated: Validated, recording: Recording) -> RecordUsageColumnsResponse:
    """The counts, and the results that are not plainly recorded: at most EXCEPTIONS_MAX, the worst first, each kind by
    row.
    """
    counts = np.bincount(recording.outcomes, minlength=len(Outcome) + 1).tolist()
    return RecordUsageColumnsResponse(
        recorded_count=counts[Outcome.RECORDED],
        duplicate_count=counts[Outcome.DUPLICATE],
        conflict_count=counts[Outcome.CONFLICT],
        invalid_count=len(validated.problems),
        not_recorded_count=counts[Outcome.NOT_RECORDED],
        exceptions=_exceptions(validated, recording),
        receipts=receipts(recording),
    )


def report_answer(report: UsageReport) -> GetUsageReportResponse:
    """The counts, in the order in which they were first met."""
    rows = [_report_row(cause, tally) for cause, tally in report.rows().items()]
    return GetUsageReportResponse(since=to_timestamp(report.since), rows=rows)


def _results(recording: Recording) -> list[UsageResult]:
    """Equal results are one message: nearly all usage events of a request share theirs."""
    if not len(recording.outcomes):
        return []
    if recording.is_plain:
        return [_result(Outcome.RECORDED, recording.written[0].position)] * len(recording.outcomes)
    pairs = list(zip(recording.outcomes.tolist(), recording.positions.tolist(), strict=True))
    messages = {pair: _result(*pair) for pair in set(pairs)}
    return [messages[pair] for pair in pairs]


@lru_cache(SHARED_MAX)
def _result(outcome: int, position: int) -> UsageResult:
    result = UsageResult(outcome=_OUTCOMES[outcome], position=position)
    if outcome == Outcome.CONFLICT:
        result.reason, result.message = CONFLICT_REASON, CONFLICT_MESSAGE
    return result


def _exceptions(validated: Validated, recording: Recording) -> list[RowResult]:
    problems, outcomes = validated.problems, recording.outcomes
    conflicts = np.flatnonzero(outcomes == Outcome.CONFLICT)[:EXCEPTIONS_MAX]
    worst = [RowResult(row=row, result=_invalid(problems[row])) for row in sorted(problems)[:EXCEPTIONS_MAX]]
    worst = sorted([*worst, *_row_results(validated, recording, conflicts)], key=lambda found: found.row)
    rest = np.flatnonzero((outcomes == Outcome.DUPLICATE) | (outcomes == Outcome.NOT_RECORDED))
    return [*worst, *_row_results(validated, recording, rest[: max(0, EXCEPTIONS_MAX - len(worst))])][:EXCEPTIONS_MAX]


def _row_results(validated: Validated, recording: Recording, places: "np.ndarray") -> list[RowResult]:
    rows, outcomes = validated.rows[places].tolist(), recording.outcomes[places].tolist()
    positions = recording.positions[places].tolist()
    return [
        RowResult(row=row, result=_result(outcome, position))
        for row, outcome, position in zip(rows, outcomes, positions, strict=True)
    ]


def _invalid(problem: Problem) -> UsageResult:
    return UsageResult(
        outcome=USAGE_OUTCOME_INVALID, reason=problem.reason, field=problem.field, message=problem.message
    )


@lru_cache(SHARED_MAX)
def _receipt(written: Written) -> Receipt:
    return Receipt(
        position=written.position,
        stream=str(written.stream),
        version=written.version,
        leaf=written.leaf,
        recorded_at=to_timestamp(written.recorded_at),
    )


def _report_row(cause: Cause, tally: Tally) -> UsageReportRow:
    if cause.outcome is not None:
        outcome = _OUTCOMES[cause.outcome]
    else:
        outcome = USAGE_OUTCOME_UNSPECIFIED if cause.is_refused else USAGE_OUTCOME_INVALID
    return UsageReportRow(
        client=cause.client,
        outcome=outcome,
        reason=cause.reason,
        field=cause.field,
        count=tally.count,
        last_message=tally.last_message,
        last_at=to_timestamp(tally.last_at),
    )
