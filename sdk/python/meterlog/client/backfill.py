"""Loads of usage of the past as values, and the calls that open, close, revert and list them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from meterlog.aggregator.v1 import correction_pb2
from meterlog.client.correction import Decision, decision_of
from meterlog.client.counting import Counting, counting_of
from meterlog.client.event import timestamp
from meterlog.client.instant import instant_of
from meterlog.client.question import Pages, Question, correction_question

BACKFILLS_PER_PAGE = 1_000

_STATES = {
    correction_pb2.BACKFILL_STATE_OPEN: "open",
    correction_pb2.BACKFILL_STATE_CLOSED: "closed",
    correction_pb2.BACKFILL_STATE_REVERTED: "reverted",
}


@dataclass(frozen=True, slots=True)
class Backfill:
    """A load of usage of the past; `state` is open, closed or reverted. Its usage counts only while it is closed.

    `counting` tells how far its count is; None when usage says already what was decided.
    """

    key: str
    state: str
    replaces_existing: bool
    start_at: datetime | None
    end_at: datetime | None
    subjects: tuple[str, ...]
    types: tuple[str, ...]
    loaded_count: int
    replaced_count: int
    opened: Decision
    closed: Decision | None
    reverted: Decision | None
    counting: Counting | None = None


def open_backfill(
    key: str,
    reason: str,
    decided_by: str,
    *,
    replaces_existing: bool,
    start_at: datetime | None,
    end_at: datetime | None,
    subjects: Sequence[str],
    types: Sequence[str],
) -> Question[Backfill]:
    """Hold back what is recorded for it from now on; raises WrongType or WrongValue."""
    request = correction_pb2.OpenBackfillRequest(
        key=key,
        replaces_existing=replaces_existing,
        start_at=None if start_at is None else timestamp(start_at, "start_at"),
        end_at=None if end_at is None else timestamp(end_at, "end_at"),
        subjects=subjects,
        types=types,
        reason=reason,
        decided_by=decided_by,
    )
    return correction_question("OpenBackfill", request, correction_pb2.OpenBackfillResponse, _answered)


def close_backfill(key: str, reason: str, decided_by: str, expected_count: int) -> Question[Backfill]:
    """Let its usage count, and what it replaces not."""
    request = correction_pb2.CloseBackfillRequest(
        key=key, expected_count=expected_count, reason=reason, decided_by=decided_by
    )
    return correction_question("CloseBackfill", request, correction_pb2.CloseBackfillResponse, _answered)


def revert_backfill(key: str, reason: str, decided_by: str) -> Question[Backfill]:
    """Let its usage not count, for ever, and what it replaced count again."""
    request = correction_pb2.RevertBackfillRequest(key=key, reason=reason, decided_by=decided_by)
    return correction_question("RevertBackfill", request, correction_pb2.RevertBackfillResponse, _answered)


def one_backfill(key: str) -> Question[Backfill]:
    """The backfill of that key."""
    request = correction_pb2.GetBackfillRequest(key=key)
    return correction_question("GetBackfill", request, correction_pb2.GetBackfillResponse, _answered)


def every_backfill() -> Pages[Backfill]:
    """All backfills, newest first."""
    request = correction_pb2.ListBackfillsRequest(page_size=BACKFILLS_PER_PAGE)
    response = correction_pb2.ListBackfillsResponse
    return Pages(
        correction_question("ListBackfills", request, response, lambda page: tuple(map(backfill_of, page.backfills)))
    )


def backfill_of(backfill: correction_pb2.Backfill) -> Backfill:
    """The backfill of a message."""

    def decision(name: Literal["closed", "reverted"]) -> Decision | None:
        return decision_of(getattr(backfill, name)) if backfill.HasField(name) else None

    return Backfill(
        key=backfill.key,
        state=_STATES.get(backfill.state, "open"),
        replaces_existing=backfill.replaces_existing,
        start_at=instant_of(backfill.start_at) if backfill.HasField("start_at") else None,
        end_at=instant_of(backfill.end_at) if backfill.HasField("end_at") else None,
        subjects=tuple(backfill.subjects),
        types=tuple(backfill.types),
        loaded_count=backfill.loaded_count,
        replaced_count=backfill.replaced_count,
        opened=decision_of(backfill.opened),
        closed=decision("closed"),
        reverted=decision("reverted"),
        counting=counting_of(backfill),
    )


def _answered(
    answer: "correction_pb2.OpenBackfillResponse | correction_pb2.CloseBackfillResponse"
    " | correction_pb2.RevertBackfillResponse | correction_pb2.GetBackfillResponse",
) -> Backfill:
    return backfill_of(answer.backfill)
