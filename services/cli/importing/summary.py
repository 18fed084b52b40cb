"""What became of the rows of an import."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meterlog.client import ColumnsResult, UsageOutcome, UsageResult
from services.cli.importing.batch import Batch
from services.cli.importing.cloud_event_batch import CloudEventBatch
from services.cli.importing.column_batch import ColumnBatch
from services.cli.importing.row import Problem

PROBLEMS_SHOWN_MAX = 20
REASONS_MAX = 100
NOT_LISTED = "NOT_LISTED"
"""Reason of those that the service counted, but did not list one by one."""


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many rows were not recorded for one reason, and the line of the first of them; 0 where nobody said."""

    reason: str
    count: int
    first_line: int


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """How many rows were read, and what became of each: `read` is the sum of the other four.

    `recorded` rows are new in the log; `duplicate` ones were there already with the same content; `conflict` ones are
    there with other content and were not changed; `invalid` ones could not be read or were refused. `problems` are the
    first PROBLEMS_SHOWN_MAX conflicts and invalid rows, `reasons` all of them by reason. The first `resumed_rows` rows
    were acknowledged by an earlier run that did not finish, and are counted in. `seconds` is the duration of this run.
    """

    read: int = 0
    recorded: int = 0
    duplicate: int = 0
    conflict: int = 0
    invalid: int = 0
    problems: tuple[Problem, ...] = ()
    reasons: tuple[ReasonCount, ...] = ()
    resumed_rows: int = 0
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether every row is in the log as it stands in the file."""
        return self.conflict == 0 and self.invalid == 0

    @property
    def exit_code(self) -> int:
        """0 when clean, else 1."""
        return 0 if self.is_clean else 1

    @property
    def problems_not_shown(self) -> int:
        """How many conflicts and invalid rows are not among `problems`."""
        return self.conflict + self.invalid - len(self.problems)

    def after(self, batch: Batch | CloudEventBatch, results: Sequence[UsageResult]) -> "ImportSummary":
        """The summary with one more batch, whose results are in the order of its events; none is undelivered."""
        outcomes = [result.outcome for result in results]
        refused = [
            Problem(line, result.field, result.reason, result.message)
            for line, result in zip(batch.lines, results, strict=True)
            if not result.is_in_log
        ]
        counts = ColumnsResult(
            outcomes.count(UsageOutcome.RECORDED),
            outcomes.count(UsageOutcome.DUPLICATE),
            outcomes.count(UsageOutcome.CONFLICT),
            outcomes.count(UsageOutcome.INVALID),
        )
        return self._after(len(batch.lines) + len(batch.problems), batch.problems, refused, counts)

    def after_columns(self, batch: ColumnBatch, result: ColumnsResult) -> "ImportSummary":
        """The summary with one more batch in columns."""
        refused = [
            Problem(batch.lines[each.row], each.field, each.reason, each.message)
            for each in result.exceptions
            if each.outcome in (UsageOutcome.CONFLICT, UsageOutcome.INVALID)
        ]
        return self._after(batch.rows, batch.problems, refused, result)

    def document(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return {
            "read": self.read,
            "recorded": self.recorded,
            "duplicate": self.duplicate,
            "conflict": self.conflict,
            "invalid": self.invalid,
            "reasons": [
                {"reason": each.reason, "count": each.count, "first_line": each.first_line} for each in self.reasons
            ],
            "problems": [
                {"line": each.line, "field": each.field, "reason": each.reason, "message": each.message}
                for each in self.problems
            ],
            "problems_not_shown": self.problems_not_shown,
            "resumed_rows": self.resumed_rows,
            "seconds": round(self.seconds, 3),
        }

    def _after(
        self, rows: int, broken: Sequence[Problem], refused: Sequence[Problem], counts: ColumnsResult
    ) -> "ImportSummary":
        problems = sorted((*broken, *refused), key=lambda problem: problem.line)
        unlisted = counts.conflict + counts.invalid - len(refused)
        return replace(
            self,
            read=self.read + rows,
            recorded=self.recorded + counts.recorded,
            duplicate=self.duplicate + counts.duplicate,
            conflict=self.conflict + counts.conflict,
            invalid=self.invalid + counts.invalid + len(broken),
            problems=(*self.problems, *problems)[:PROBLEMS_SHOWN_MAX],
            reasons=_counted(self.reasons, problems, unlisted),
        )


def _counted(before: Iterable[ReasonCount], problems: Iterable[Problem], unlisted: int) -> tuple[ReasonCount, ...]:
    """The counts with more problems; of more than REASONS_MAX reasons the others count as not listed."""
    counts = {each.reason: each for each in before}
    additions = [(problem.reason, 1, problem.line) for problem in problems]
    for reason, count, line in [*additions, *([(NOT_LISTED, unlisted, 0)] if unlisted else [])]:
        name = reason if reason in counts or len(counts) < REASONS_MAX else NOT_LISTED
        known = counts.get(name, ReasonCount(name, 0, line))
        counts[name] = replace(known, count=known.count + count)
    return tuple(counts.values())
