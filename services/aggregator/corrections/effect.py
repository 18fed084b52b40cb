"""What corrections make of usage: which usage events count, and what they say. Pure, in columns.

What a usage event says at a position of the log is a function of the log up to there: the corrections that were
decided and not reverted by then act in their order, and one that was reverted is as though it had never been.
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.corrections.amending import amended, place_numbers
from services.aggregator.corrections.backfill_source import backfill_key, has_backfilled, where_source
from services.aggregator.corrections.force import FilterCancellation, Force
from services.aggregator.corrections.usage_filter import is_chosen
from services.eventstore.event import Position


@dataclass(frozen=True, slots=True)
class States:
    """For each usage event of a table: whether its backfill holds it back, and whether it was cancelled or replaced."""

    is_held: pa.Array
    is_cancelled: pa.Array

    @property
    def counts(self) -> pa.Array:
        """Whether each usage event counts."""
        return pc.invert(pc.or_(self.is_held, self.is_cancelled))


def corrected(usage: pa.Table, force: Force) -> pa.Table:
    """The usage events of a table that count, in their order, with what they say.

    `usage` is as recorded and has the columns of `force.columns`.
    """
    counts = states_of(usage, force).counts
    counted = usage if pc.all(counts).as_py() in (True, None) else usage.filter(counts)
    return amended(counted, force.amendments)


def states_of(usage: pa.Table, force: Force) -> States:
    """Where each usage event of a table (as recorded) stands."""
    return States(_is_held(usage, force, None), _is_cancelled(usage, force))


def is_held(usage: pa.Table, force: Force) -> pa.Array:
    """Whether the backfill of each usage event holds it back."""
    return _is_held(usage, force, None)


def is_hit(usage: pa.Table, force: Force, cancellation: FilterCancellation) -> pa.Array:
    """Whether the cancellation, in force or not, hits each usage event of a table (as recorded).

    It goes by what the log said at its `until`: amendments and closings behind that do not matter. But what a backfill
    replaces is decided at its own closing, so that of two that were closed at once the later replaces the earlier.
    """
    said = amended(usage, [each for each in force.amendments if each.position <= cancellation.until])
    hit = pc.and_(
        pc.less_equal(usage["position"].combine_chunks(), cancellation.until), is_chosen(said, cancellation.filter)
    )
    held_at = cancellation.position if cancellation.spared_source else cancellation.until
    hit = pc.and_not(hit, _is_held(usage, force, held_at))
    return pc.and_not(hit, _is_spared(usage, cancellation.spared_source)) if cancellation.spared_source else hit


def _is_cancelled(usage: pa.Table, force: Force) -> pa.Array:
    if force.named:
        cancelled = pc.is_valid(place_numbers(usage, [each.place for each in force.named]))
    else:
        cancelled = pa.repeat(False, usage.num_rows)
    for each in force.filters:
        cancelled = pc.or_(cancelled, is_hit(usage, force, each))
    return cancelled


def _is_held(usage: pa.Table, force: Force, until: Position | None) -> pa.Array:
    """Held back at `until` (None: now), seen from the log as it stands now."""
    sources = usage["source"].combine_chunks()
    if not has_backfilled(sources):
        return pa.repeat(False, usage.num_rows)

    def holds(source: str) -> bool:
        key = backfill_key(source)
        closed_at = force.closed.get(key)
        return bool(key) and (closed_at is None or (until is not None and closed_at > until))

    return where_source(sources, holds)


def _is_spared(usage: pa.Table, prefix: str) -> pa.Array:
    return where_source(usage["source"].combine_chunks(), lambda source: source.startswith(prefix))
