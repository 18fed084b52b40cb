"""The queries of a log on PostgreSQL: one function each, from a connection to values.

Rows are only ever added, and a commit shows all of its rows at once. So what was read first bounds what is read after
it, and no transaction is needed around them.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from uuid import UUID

from services.eventstore.audit.chain import CHAIN_START, Commit
from services.eventstore.event import BEGINNING, VERSION_MAX, Head, Page, Position, RecordedEvent, StreamName
from services.eventstore.postgres.find_runs import newest_version, runs_behind, runs_between
from services.eventstore.postgres.query import Connection, rows_of
from services.eventstore.postgres.run import Run, Slice, slices_of_page, slices_of_versions
from services.eventstore.reading import PAGE_BYTES_MAX
from services.kernel.clock import from_epoch_us
from services.kernel.errors import Corrupt

_EventRow = tuple[Position, UUID, int, str, bytes, bytes]

_EVENTS = """
    SELECT e.* FROM unnest(%b::bigint[], %b::bigint[]) AS wanted (first, last)
    CROSS JOIN LATERAL (
        SELECT position, event_id, schema_version, type, payload, leaf FROM events
        WHERE position BETWEEN wanted.first AND wanted.last ORDER BY position
    ) AS e
"""
_LEAVES = "SELECT leaf FROM events WHERE position BETWEEN %s AND %s ORDER BY position"
_CHAIN_AT = "SELECT chain FROM commits WHERE last_position = %s"
_HEAD = "SELECT last_position, chain FROM commits ORDER BY last_position DESC LIMIT 1"
_STORED_POSITIONS = "SELECT (SELECT min(position) FROM events), (SELECT max(position) FROM events)"
_COMMITS_BEHIND = """
    SELECT first_position, last_position, root, chain FROM commits WHERE last_position > %s
    ORDER BY last_position LIMIT %s
"""

_instant = lru_cache(maxsize=1024)(from_epoch_us)


def head(connection: Connection) -> Head:
    """The newest position, and the chain there."""
    rows = rows_of(connection, _HEAD)
    return Head(Position(rows[0][0]), rows[0][1]) if rows else Head(BEGINNING, CHAIN_START)


def leaf_at(connection: Connection, position: Position) -> bytes:
    """The leaf of the event at a position; empty when there is none."""
    found = leaves(connection, position, position) if position <= VERSION_MAX else []
    return found[0] if found else b""


def leaves(connection: Connection, first: Position, last: Position) -> list[bytes]:
    """The leaves of the events from `first` to `last`, as far as there are any."""
    return [leaf for (leaf,) in rows_of(connection, _LEAVES, (first, last))]


def chain_at(connection: Connection, last_position: Position) -> bytes | None:
    """The chain after the commit that ends at a position; None when no commit ends there."""
    rows = rows_of(connection, _CHAIN_AT, (last_position,))
    return rows[0][0] if rows else None


def page(connection: Connection, after: Position, categories: Collection[str], limit: int) -> Page:
    """Events behind `after`, up to the head of this moment; raises Corrupt where one is missing, and skips none."""
    after = max(after, BEGINNING)
    end = head(connection).position
    if after >= end:
        return Page((), after, is_last=True)
    runs = runs_behind(connection, after, end, categories, limit)
    slices = slices_of_page(runs, after, end, limit, PAGE_BYTES_MAX)
    if not categories:
        _require_all(slices, after)
    events = _fitting(slices, _events(connection, slices))
    last = min(runs[-1].last_position, end) if categories and runs else end
    if events and events[-1].position < last:
        return Page(events, events[-1].position, is_last=False)
    return Page(events, end, is_last=True)


def stream_upwards(
    connection: Connection, stream: StreamName, from_version: int, limit: int
) -> tuple[RecordedEvent, ...]:
    """Up to `limit` events of a stream from a version upwards."""
    found = newest_version(connection, stream)
    if found is None or found[1] < from_version:
        return ()
    return _stream_events(connection, found[0], from_version, min(found[1], from_version + limit - 1))


def stream_downwards(
    connection: Connection, stream: StreamName, from_version: int, limit: int
) -> tuple[RecordedEvent, ...]:
    """Up to `limit` events of a stream from a version (-1: its newest) downwards."""
    found = newest_version(connection, stream)
    if found is None:
        return ()
    last = found[1] if from_version == -1 else min(from_version, found[1])
    return _stream_events(connection, found[0], max(0, last - limit + 1), last)[::-1]


def commits(connection: Connection, after: Position, limit: int) -> tuple[Commit, ...]:
    """Up to `limit` commits whose last position is behind `after`."""
    rows = rows_of(connection, _COMMITS_BEHIND, (min(after, VERSION_MAX), limit))
    return tuple(Commit(Position(first), Position(last), root, chain) for first, last, root, chain in rows)


def stored_positions(connection: Connection) -> tuple[Position, Position] | None:
    """The lowest and the highest position in the table; None when it is empty."""
    lowest, highest = rows_of(connection, _STORED_POSITIONS)[0]
    return None if lowest is None else (Position(lowest), Position(highest))


def _stream_events(
    connection: Connection, stream_id: int, first_version: int, last_version: int
) -> tuple[RecordedEvent, ...]:
    runs = runs_between(connection, stream_id, first_version, last_version)
    return tuple(_events(connection, slices_of_versions(runs, first_version, last_version)))


def _events(connection: Connection, slices: Sequence[Slice]) -> list[RecordedEvent]:
    """The events of the slices, which are in log order."""
    if not slices:
        return []
    firsts, lasts = [slices[0].first_position], [slices[0].last_position]
    for wanted in slices[1:]:
        if wanted.first_position == lasts[-1] + 1:
            lasts[-1] = wanted.last_position
        else:
            firsts.append(wanted.first_position)
            lasts.append(wanted.last_position)
    rows: list[_EventRow] = rows_of(connection, _EVENTS, (firsts, lasts))
    rows.sort(key=itemgetter(0))
    _require_rows(slices, rows)
    return _recorded_events(slices, rows)


def _recorded_events(slices: Sequence[Slice], rows: Sequence[_EventRow]) -> list[RecordedEvent]:
    """Each row together with what its run knows; the rows are those of the slices, one each."""
    events: list[RecordedEvent] = []
    unread = iter(rows)
    for wanted in slices:
        stream, offset, recorded_at = wanted.run.stream, wanted.run.version_offset, _recorded_at(wanted.run)
        events += [
            RecordedEvent(
                position, stream, position + offset, event_id, event_type, schema_version, recorded_at, payload, leaf
            )
            for position, event_id, schema_version, event_type, payload, leaf in islice(unread, wanted.event_count)
        ]
    return events


def _require_all(slices: Sequence[Slice], after: int) -> None:
    """Positions have no gaps: where no run holds the next one, the log is damaged."""
    for wanted in slices:
        if wanted.first_position != after + 1:
            break
        after = wanted.last_position
    else:
        if slices:
            return
    raise _missing(after + 1)


def _require_rows(slices: Sequence[Slice], rows: Sequence[_EventRow]) -> None:
    if len(rows) == sum(wanted.event_count for wanted in slices):
        return
    stored = {row[0] for row in rows}
    wanted_positions = (position for each in slices for position in range(each.first_position, each.last_position + 1))
    raise _missing(next(position for position in wanted_positions if position not in stored))


def _missing(position: int) -> Corrupt:
    return Corrupt(f"position {position} holds no event, though the log goes on behind it; verify the log")


def _recorded_at(run: Run) -> datetime:
    try:
        return _instant(run.recorded_at_us)
    except (ValueError, OverflowError, OSError) as error:
        raise Corrupt(f"position {run.first_position} holds no event ({error}); verify the log") from error


def _fitting(slices: Sequence[Slice], events: Sequence[RecordedEvent]) -> tuple[RecordedEvent, ...]:
    """The events up to the one that fills the page."""
    if sum(wanted.run.payload_bytes for wanted in slices) < PAGE_BYTES_MAX:
        return tuple(events)
    size = 0
    for count, event in enumerate(events, 1):
        size += len(event.payload)
        if size >= PAGE_BYTES_MAX:
            return tuple(events[:count])
    return tuple(events)
