"""Finds named usage events in the log: by the position of their receipt, else from the newest batch backwards."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from meterlog.events.v1.correction_pb2 import RecordedUsage
from services.aggregator.deadline import Deadline
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.usage.batch_rows import BatchPlace, batches_at, batches_before
from services.aggregator.usage.usage_log import READ_EVENTS, read_batches
from services.aggregator.usage.usage_table import usage_tables
from services.eventstore.event import RecordedEvent
from services.kernel.clock import from_epoch_us
from services.kernel.errors import InvalidInput, NotFound
from services.kernel.ids import require_identifier
from services.kernel.timestamp import to_timestamp

NAMES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class UsageName:
    """Source and id of a usage event, and the log position of its batch; 0 when nobody says."""

    source: str
    id: str
    position: int = 0


def require_names(names: Sequence[UsageName], field: str) -> tuple[UsageName, ...]:
    """`names`, when each can name a usage event and none comes twice; raises InvalidInput that names the field."""
    if len(names) > NAMES_MAX:
        raise InvalidInput(
            f"{field} has {len(names)} names; send at most {NAMES_MAX}, or use a filter",
            field=field,
            reason="TOO_MANY_NAMES",
        )
    seen: set[tuple[str, str]] = set()
    for index, name in enumerate(names):
        require_name(name, f"{field}[{index}]")
        if (name.source, name.id) in seen:
            raise InvalidInput(
                f'{field}[{index}] repeats "{name.id[:60]}" of "{name.source[:60]}"; leave it out',
                field=f"{field}[{index}]",
                reason="NAME_REPEATED",
            )
        seen.add((name.source, name.id))
    return tuple(names)


def require_name(name: UsageName, field: str) -> UsageName:
    """`name`, when it can name a usage event; raises InvalidInput that names the field in it."""
    require_identifier(name.source, f"{field}.source")
    require_identifier(name.id, f"{field}.id")
    if name.position < 0:
        raise InvalidInput(f"{field}.position is below 0; leave it out", field=f"{field}.position")
    return name


def find_one(source: UsageSnapshot, name: UsageName, deadline: Deadline) -> RecordedUsage:
    """The usage event of a name; raises NotFound."""
    found = _find(source, [name], deadline)
    if not found:
        raise _not_recorded("name", name)
    return found[name.source, name.id]


def find_named(source: UsageSnapshot, names: Sequence[UsageName], deadline: Deadline) -> list[RecordedUsage]:
    """The usage events of these names, in their order; raises NotFound for the first that was never recorded."""
    found = _find(source, names, deadline)
    for index, name in enumerate(names):
        if (name.source, name.id) not in found:
            raise _not_recorded(f"names[{index}]", name)
    return [found[name.source, name.id] for name in names]


def _find(
    source: UsageSnapshot, names: Sequence[UsageName], deadline: Deadline
) -> dict[tuple[str, str], RecordedUsage]:
    """Those of the usage events that were recorded, by source and id."""
    found: dict[tuple[str, str], RecordedUsage] = {}
    placed = {(name.source, name.id) for name in names if name.position}
    at_places = batches_at(source.connection, source.tables, sorted({name.position for name in names if name.position}))
    for event in _events(source, [at_places], deadline):
        positions = {(name.source, name.id) for name in names if name.position == event.position}
        found.update(_named_in(event, positions))
    searched = {(name.source, name.id) for name in names} - placed
    for event in _events(source, _backwards(source) if searched else (), deadline):
        found.update(_named_in(event, searched - found.keys()))
        if searched <= found.keys():
            break
    return found


def _backwards(source: UsageSnapshot) -> Iterator[list[BatchPlace]]:
    before: int | None = None
    while places := batches_before(source.connection, source.tables, before, READ_EVENTS):
        yield places
        before = places[-1].position


def _events(
    source: UsageSnapshot, pages: Iterator[list[BatchPlace]] | Sequence[list[BatchPlace]], deadline: Deadline
) -> Iterator[RecordedEvent]:
    for places in pages:
        for events in read_batches(source.store, places):
            for event in events:
                deadline.require()
                yield event


def _named_in(event: RecordedEvent, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], RecordedUsage]:
    if not wanted:
        return {}
    (usage,) = usage_tables([event], ["source", "id", "subject"])
    ids = pa.array(sorted({usage_id for _, usage_id in wanted}), pa.utf8())
    candidates = usage.filter(pc.is_in(usage["id"], ids)).to_pylist()
    return {
        (row["source"], row["id"]): RecordedUsage(
            source=row["source"],
            id=row["id"],
            position=row["position"],
            row=row["row"],
            time=to_timestamp(from_epoch_us(row["at_us"])),
            subject=row["subject"],
        )
        for row in candidates
        if (row["source"], row["id"]) in wanted
    }


def _not_recorded(field: str, name: UsageName) -> NotFound:
    where = f"at position {name.position}" if name.position else "in the log"
    return NotFound(
        f'{field}: no usage event "{name.id[:64]}" of source "{name.source[:64]}" was recorded {where}; '
        "check all three, or leave the position out",
        reason="USAGE_EVENT_NOT_FOUND",
    )
