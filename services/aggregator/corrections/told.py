"""Corrections and backfills as their streams tell them: what was decided, before the tables of usage follow."""

from collections.abc import Sequence
from typing import cast

from meterlog.events.v1.correction_pb2 import BackfillClosed, BackfillOpened, BackfillReverted, CorrectionReverted
from services.aggregator.corrections.backfill_rows import BackfillRow
from services.aggregator.corrections.correction_rows import CorrectionRow, Decided
from services.eventstore.catalogue import decode
from services.eventstore.event import RecordedEvent


def told_correction(history: Sequence[RecordedEvent]) -> CorrectionRow:
    """The correction of a stream that has events."""
    decided, *later = history
    reverted = later[-1] if later else None
    return CorrectionRow(
        cast(Decided, decode(decided)),
        decided.position,
        None if reverted is None else cast(CorrectionReverted, decode(reverted)),
        None if reverted is None else reverted.position,
    )


def told_backfill(history: Sequence[RecordedEvent]) -> BackfillRow:
    """The backfill of a stream that has events."""
    opened, *later = history
    by_type = {type(event): (event, recorded.position) for recorded in later for event in [decode(recorded)]}
    closed, closed_position = by_type.get(BackfillClosed, (None, None))
    reverted, reverted_position = by_type.get(BackfillReverted, (None, None))
    return BackfillRow(
        cast(BackfillOpened, decode(opened)),
        opened.position,
        cast(BackfillClosed | None, closed),
        closed_position,
        cast(BackfillReverted | None, reverted),
        reverted_position,
    )
