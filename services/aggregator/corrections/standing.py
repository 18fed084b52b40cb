"""Where usage events stand, one by one: what was recorded, what they say now, and which corrections act on them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.corrections.amending import amended, place_numbers
from services.aggregator.corrections.backfill_source import backfill_key
from services.aggregator.corrections.effect import is_hit, states_of
from services.aggregator.corrections.force import Force, Place
from services.aggregator.usage.usage_table import RECORDED_AT
from services.eventstore.event import Position
from services.eventstore.usage_batch import PROPERTY_PREFIX, TEXT, property_column
from services.kernel.clock import epoch_us, from_epoch_us

VALUES_AT_ONCE = 256
"""Usage events that are turned from columns into values at once."""


class Standing(StrEnum):
    """Whether a usage event counts, and if not, why."""

    COUNTED = "counted"
    AMENDED = "amended"
    CANCELLED = "cancelled"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class StandingUsage:
    """A usage event with its place (log position, row in that event from 0), as recorded and as it stands.

    `value` and `properties` are what it says now; `corrections` are the keys of what acts on it, in log order.
    """

    id: str
    source: str
    type: str
    subject: str
    at: datetime
    value: Decimal
    properties: Mapping[str, str]
    position: Position
    row: int
    recorded_at: datetime
    standing: Standing
    corrections: tuple[str, ...]
    recorded_value: Decimal
    recorded_properties: Mapping[str, str]


def standings(
    usage: pa.Table,
    force: Force,
    recorded_at: datetime,
    is_met: Callable[[pa.Table], pa.Array],
    standing: Standing | None,
) -> Iterator[StandingUsage]:
    """The usage events of one batch (as recorded, all columns) that meet `is_met` by what they say, in their order.

    Only those that stand as `standing`, unless that is None. They are chosen in columns, and become values a few at a
    time: who takes one page pays for one page.
    """
    usage = _with_columns(usage, force, recorded_at)
    said = amended(usage, force.amendments)
    met = pc.indices_nonzero(is_met(said))
    usage, said = usage.take(met).combine_chunks(), said.take(met).combine_chunks()
    stand = _standings(usage, force)
    if standing is not None:
        chosen = pc.indices_nonzero(pc.equal(stand, standing.value))
        usage, said, stand = usage.take(chosen), said.take(chosen), stand.take(chosen)
    for start in range(0, usage.num_rows, VALUES_AT_ONCE):
        some = usage.slice(start, VALUES_AT_ONCE).combine_chunks()
        acting = _acting(some, force)
        now = said.slice(start, VALUES_AT_ONCE).to_pylist()
        found = stand.slice(start, VALUES_AT_ONCE).to_pylist()
        for recorded, says, stands, keys in zip(some.to_pylist(), now, found, acting, strict=True):
            yield _usage(recorded, says, recorded_at, Standing(stands), keys)


def _standings(usage: pa.Table, force: Force) -> pa.Array:
    """For each usage event the value of its Standing; what is cancelled is said first, then what is held."""
    states = states_of(usage, force)
    places = tuple({each.place for each in force.amendments})
    is_amended = pc.is_valid(place_numbers(usage, places)) if places else pa.repeat(False, usage.num_rows)
    found = pc.if_else(is_amended, Standing.AMENDED.value, Standing.COUNTED.value)
    found = pc.if_else(states.is_held, Standing.HELD.value, found)
    return pc.if_else(states.is_cancelled, Standing.CANCELLED.value, found)


def _with_columns(usage: pa.Table, force: Force, recorded_at: datetime) -> pa.Table:
    """The table with every column that corrections look at, or may write into."""
    written = {property_column(key) for each in force.amendments for key in each.properties or ()}
    for name in sorted((written | force.columns).difference(usage.schema.names)):
        if name == RECORDED_AT:
            column = pa.repeat(pa.scalar(epoch_us(recorded_at), pa.int64()), usage.num_rows)
        else:
            column = pa.nulls(usage.num_rows, TEXT)
        usage = usage.append_column(name, column)
    return usage.combine_chunks()


def _acting(usage: pa.Table, force: Force) -> Iterator[tuple[str, ...]]:
    """For each usage event the keys of what acts on it: by name, by filter, and the backfill that holds it back."""
    acts: list[list[tuple[int, str]]] = [[] for _ in range(usage.num_rows)]
    by_place: dict[Place, list[tuple[int, str]]] = {}
    for named in force.named:
        by_place.setdefault(named.place, []).append((named.position, named.key))
    for amendment in force.amendments:
        by_place.setdefault(amendment.place, []).append((amendment.position, amendment.key))
    places = tuple(by_place)
    for row, number in enumerate(place_numbers(usage, places).to_pylist() if places else ()):
        if number is not None:
            acts[row] += by_place[places[number]]
    for cancellation in force.filters:
        for row in pc.indices_nonzero(is_hit(usage, force, cancellation)).to_pylist():
            acts[row].append((cancellation.position, cancellation.key))
    for row, source in enumerate(usage["source"].to_pylist()):
        key = backfill_key(source)
        if key:
            acts[row].append((force.closed.get(key, Position(0)), key))
    for act in acts:
        yield tuple(key for _, key in sorted(act))


def _usage(
    recorded: Mapping[str, Any],
    now: Mapping[str, Any],
    recorded_at: datetime,
    standing: Standing,
    keys: tuple[str, ...],
) -> StandingUsage:
    return StandingUsage(
        id=recorded["id"],
        source=recorded["source"],
        type=recorded["type"],
        subject=recorded["subject"],
        at=from_epoch_us(recorded["at_us"]),
        value=now["value"],
        properties=_properties(now),
        position=Position(recorded["position"]),
        row=recorded["row"],
        recorded_at=recorded_at,
        standing=standing,
        corrections=keys,
        recorded_value=recorded["value"],
        recorded_properties=_properties(recorded),
    )


def _properties(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        name.removeprefix(PROPERTY_PREFIX): text
        for name, text in row.items()
        if name.startswith(PROPERTY_PREFIX) and text is not None
    }
