"""What became of the rows of an import."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meterlog.client import UsageOutcome, UsageResult
from services.cli.importing.batch import Batch
from services.cli.importing.row import Problem

PROBLEMS_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """How many rows were read, and what became of each: `read` is the sum of the other four.

    `recorded` rows are new in the log; `duplicate` ones were there already with the same content; `conflict` ones are
    there with other content and were not changed; `invalid` ones could not be read or were refused. `problems` are the
    first PROBLEMS_SHOWN_MAX conflicts and invalid rows. The first `resumed_rows` rows were acknowledged by an earlier
    run that did not finish, and are counted in. `seconds` is the duration of this run.
    """

    read: int = 0
    recorded: int = 0
    duplicate: int = 0
    conflict: int = 0
    invalid: int = 0
    problems: tuple[Problem, ...] = ()
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

    def after(self, batch: Batch, results: Sequence[UsageResult]) -> "ImportSummary":
        """The summary with one more batch, whose results are in the order of its events; none is undelivered."""
        outcomes = [result.outcome for result in results]
        refused = _problems_of(batch, results)
        return replace(
            self,
            read=self.read + len(batch.events) + len(batch.problems),
            recorded=self.recorded + outcomes.count(UsageOutcome.RECORDED),
            duplicate=self.duplicate + outcomes.count(UsageOutcome.DUPLICATE),
            conflict=self.conflict + outcomes.count(UsageOutcome.CONFLICT),
            invalid=self.invalid + outcomes.count(UsageOutcome.INVALID) + len(batch.problems),
            problems=(*self.problems, *refused)[:PROBLEMS_SHOWN_MAX],
        )

    def document(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return {
            "read": self.read,
            "recorded": self.recorded,
            "duplicate": self.duplicate,
            "conflict": self.conflict,
            "invalid": self.invalid,
            "problems": [
                {"line": each.line, "field": each.field, "reason": each.reason, "message": each.message}
                for each in self.problems
            ],
            "problems_not_shown": self.problems_not_shown,
            "resumed_rows": self.resumed_rows,
            "seconds": round(self.seconds, 3),
        }


def _problems_of(batch: Batch, results: Sequence[UsageResult]) -> Iterable[Problem]:
    refused = [
        Problem(line, result.field, result.reason, result.message)
        for line, result in zip(batch.lines, results, strict=True)
        if not result.is_in_log
    ]
    return sorted((*batch.problems, *refused), key=lambda problem: problem.line)
