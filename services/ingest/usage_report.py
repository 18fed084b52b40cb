"""Counts what each client sent and what became of it, so that malformed usage shows."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import structlog

from services.ingest.outcome_words import CONFLICT_REASON
from services.ingest.problem import Problem
from services.ingest.recording import Outcome, Recording
from services.kernel.clock import Clock
from services.kernel.errors import DomainError, InvalidInput

ROWS_MAX: Final = 1_000
OTHER_REASONS: Final = "OTHER_REASONS"
OTHER_CLIENTS: Final = "OTHER_CLIENTS"
LOG_PERIOD: Final = timedelta(minutes=1)

_REASON_ROWS_MAX: Final = 900
_CLIENT_ROWS_MAX: Final = 990
_MESSAGE_CHARACTERS_MAX: Final = 500
_FIELD_CHARACTERS_MAX: Final = 200

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Cause:
    """What is counted together. `outcome` is None for malformed usage events, and `is_refused` for whole requests."""

    client: str
    outcome: Outcome | None
    reason: str = ""
    field: str = ""
    is_refused: bool = False


@dataclass(slots=True)
class Tally:
    """How often it occurred, and the last time."""

    count: int
    last_message: str
    last_at: datetime


class UsageReport:
    """The counts since the start of this process. Belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.since = clock.now()
        self._tallies: dict[Cause, Tally] = {}
        self._logged_at: dict[str, datetime] = {}

    def rows(self) -> Mapping[Cause, Tally]:
        """What was counted; at most ROWS_MAX."""
        return dict(self._tallies)

    def count(self, client: str, problems: Mapping[int, Problem], recording: Recording) -> None:
        """Count what became of a request's usage events."""
        if recording.is_plain:
            self._add(Cause(client, Outcome.RECORDED), len(recording.outcomes), "")
        else:
            self._count_outcomes(client, recording)
        if problems:
            self._count_problems(client, problems)

    @contextmanager
    def refusals(self, client: str) -> Iterator[None]:
        """Count a whole request that is refused in the block."""
        try:
            yield
        except DomainError as error:
            self.count_refusal(client, error)
            raise

    def count_refusal(self, client: str, error: DomainError) -> None:
        """Count a whole request that is refused."""
        field = error.field[:_FIELD_CHARACTERS_MAX] if isinstance(error, InvalidInput) else ""
        self._add(Cause(client, None, error.reason, field, is_refused=True), 1, error.message)

    def _count_outcomes(self, client: str, recording: Recording) -> None:
        counts = np.bincount(recording.outcomes, minlength=len(Outcome) + 1).tolist()
        for outcome in Outcome:
            if counts[outcome]:
                reason = CONFLICT_REASON if outcome is Outcome.CONFLICT else ""
                self._add(Cause(client, outcome, reason), counts[outcome], "")

    def _count_problems(self, client: str, problems: Mapping[int, Problem]) -> None:
        last = {(problem.reason, problem.field): problem.message for problem in problems.values()}
        counts = Counter((problem.reason, problem.field) for problem in problems.values())
        for (reason, field), count in counts.items():
            self._add(Cause(client, None, reason, field), count, last[reason, field])

    def _add(self, cause: Cause, count: int, message: str) -> None:
        now = self._clock.now()
        tally = self._tally(cause, now)
        tally.count += count
        tally.last_message, tally.last_at = message[:_MESSAGE_CHARACTERS_MAX], now
        if cause.reason:
            self._log(cause, tally, now)

    def _tally(self, cause: Cause, now: datetime) -> Tally:
        """The rows are bounded: what would be one too many is counted under a wider cause."""
        if cause not in self._tallies and len(self._tallies) >= _REASON_ROWS_MAX:
            cause = Cause(cause.client, cause.outcome, OTHER_REASONS, "", cause.is_refused)
        if cause not in self._tallies and len(self._tallies) >= _CLIENT_ROWS_MAX:
            cause = Cause(OTHER_CLIENTS, cause.outcome, OTHER_REASONS, "", cause.is_refused)
        return self._tallies.setdefault(cause, Tally(0, "", now))

    def _log(self, cause: Cause, tally: Tally, now: datetime) -> None:
        """One line a minute and reason at most, without anything that a client wrote."""
        logged_at = self._logged_at.get(cause.reason)
        if logged_at is None or now - logged_at >= LOG_PERIOD:
            self._logged_at[cause.reason] = now
            log.warning("usage not taken", client=cause.client, reason=cause.reason, count_so_far=tally.count)
