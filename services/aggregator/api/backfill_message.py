"""Backfills between the API's messages and the values of this room."""

from meterlog.aggregator.v1 import correction_pb2 as api
from meterlog.events.v1.correction_pb2 import BackfillOpened
from services.aggregator.api.correction_message import (
    SUBJECTS_MAX,
    TYPES_MAX,
    decision_message,
    require_order,
    require_texts,
)
from services.aggregator.api.counting import counting_message
from services.aggregator.api.instants import missing, parse_instant
from services.aggregator.corrections.backfill_rows import BackfillRow
from services.aggregator.corrections.decision import Decision
from services.aggregator.waiting.counting_progress import Counting
from services.kernel.clock import epoch_us
from services.kernel.timestamp import to_timestamp


def opening_of(request: api.OpenBackfillRequest, decision: Decision) -> BackfillOpened:
    """The event that opens it; raises InvalidInput that names the field."""
    opened = BackfillOpened(
        key=request.key,
        replaces_existing=request.replaces_existing,
        subjects=sorted(require_texts(request.subjects, "subjects", SUBJECTS_MAX)),
        types=sorted(require_texts(request.types, "types", TYPES_MAX)),
        decision=decision.stored(),
    )
    if request.HasField("start_at"):
        opened.start_at.CopyFrom(to_timestamp(parse_instant(request.start_at, "start_at")))
    if request.HasField("end_at"):
        opened.end_at.CopyFrom(to_timestamp(parse_instant(request.end_at, "end_at")))
    _require_range(request)
    return opened


def backfill_message(row: BackfillRow, loaded: int, counting: Counting | None = None) -> api.Backfill:
    """A backfill as the API shows it; `loaded` is how many usage events it has now, `counting` how far its count is."""
    opened = row.opened
    message = api.Backfill(
        key=opened.key,
        replaces_existing=opened.replaces_existing,
        subjects=opened.subjects,
        types=opened.types,
        state=_state(row),
        loaded_count=loaded if row.closed is None else row.closed.loaded_count,
        replaced_count=0 if row.closed is None else row.closed.replaced_count,
        opened=decision_message(opened.decision, row.position),
        closed=None if row.closed is None else decision_message(row.closed.decision, row.closed_position),
        reverted=None if row.reverted is None else decision_message(row.reverted.decision, row.reverted_position),
        counting=counting_message(counting),
    )
    if opened.HasField("start_at"):
        message.start_at.CopyFrom(opened.start_at)
    if opened.HasField("end_at"):
        message.end_at.CopyFrom(opened.end_at)
    return message


def _require_range(request: api.OpenBackfillRequest) -> None:
    for field in ("start_at", "end_at"):
        if request.replaces_existing and not request.HasField(field):
            raise missing(field)
    if request.HasField("start_at") and request.HasField("end_at"):
        start, end = parse_instant(request.start_at, "start_at"), parse_instant(request.end_at, "end_at")
        require_order(epoch_us(start), epoch_us(end), "end_at", "start_at")


def _state(row: BackfillRow) -> "api.BackfillState.ValueType":
    if row.reverted is not None:
        return api.BACKFILL_STATE_REVERTED
    return api.BACKFILL_STATE_OPEN if row.closed is None else api.BACKFILL_STATE_CLOSED
