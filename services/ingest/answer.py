"""Puts what became of usage events into the words of the API."""

from collections.abc import Sequence

from meterlog.ingest.v1.ingest_pb2 import (
    USAGE_OUTCOME_CONFLICT,
    USAGE_OUTCOME_DUPLICATE,
    USAGE_OUTCOME_INVALID,
    USAGE_OUTCOME_RECORDED,
    Receipt,
    RecordUsageResponse,
    UsageOutcome,
    UsageResult,
)
from services.eventstore.event import Position
from services.ingest.problem import Problem
from services.ingest.recording import Outcome, Recording, Written
from services.ingest.validate import Validated
from services.kernel.timestamp import to_timestamp

NOTHING_RECORDED = Recording((), (), ())
CONFLICT_REASON = "OTHER_CONTENT_RECORDED"
CONFLICT_MESSAGE = "this source and id is recorded with other content, which stays as it is; give new usage a new id"

_OUTCOMES: dict[Outcome, "UsageOutcome.ValueType"] = {
    Outcome.RECORDED: USAGE_OUTCOME_RECORDED,
    Outcome.DUPLICATE: USAGE_OUTCOME_DUPLICATE,
    Outcome.CONFLICT: USAGE_OUTCOME_CONFLICT,
}


def answer(validated: Validated, recording: Recording) -> RecordUsageResponse:
    """One result for each usage event of the request, in its order, and the receipts."""
    results = _results(recording)
    if validated.problems:
        results = _in_request_order(validated, results)
    return RecordUsageResponse(results=results, receipts=map(_receipt, recording.written))


def _results(recording: Recording) -> list[UsageResult]:
    """Equal results are one message: nearly all usage events of a request share theirs."""
    if recording.is_all_recorded():
        return [_result(Outcome.RECORDED, recording.positions[0])] * len(recording.positions)
    pairs = list(zip(recording.outcomes, recording.positions, strict=True))
    messages = {pair: _result(*pair) for pair in set(pairs)}
    return [messages[pair] for pair in pairs]


def _result(outcome: Outcome, position: Position) -> UsageResult:
    result = UsageResult(outcome=_OUTCOMES[outcome], position=position)
    if outcome is Outcome.CONFLICT:
        result.reason, result.message = CONFLICT_REASON, CONFLICT_MESSAGE
    return result


def _in_request_order(validated: Validated, results: Sequence[UsageResult]) -> list[UsageResult]:
    by_row = dict(zip(validated.rows, results, strict=True))
    by_row.update({row: _invalid(problem) for row, problem in validated.problems.items()})
    return [by_row[row] for row in range(len(by_row))]


def _invalid(problem: Problem) -> UsageResult:
    return UsageResult(
        outcome=USAGE_OUTCOME_INVALID, reason=problem.reason, field=problem.field, message=problem.message
    )


def _receipt(written: Written) -> Receipt:
    return Receipt(
        position=written.position,
        stream=str(written.stream),
        version=written.version,
        leaf=written.leaf,
        recorded_at=to_timestamp(written.recorded_at),
    )
