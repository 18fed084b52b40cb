"""Write commits into a log on PostgreSQL, inside a transaction that the caller has begun and ends."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from services.eventstore.audit.chain import Commit
from services.eventstore.postgres.event_rows import EventRow, binary_copy
from services.eventstore.postgres.log_state import LogState, StreamIds
from services.eventstore.postgres.query import Connection
from services.eventstore.postgres.run import Run

COPY_EVENTS_MIN: Final = 50
"""Events from which on COPY is faster than arrays, although its answer has to be waited for twice."""

_COPY_EVENTS = "COPY events (position, event_id, schema_version, type, payload, leaf) FROM STDIN (FORMAT binary)"

_WRITE = """
    WITH new_categories AS (
        INSERT INTO categories (id, name) SELECT * FROM unnest(%b::integer[], %b::text[])
    ), new_streams AS (
        INSERT INTO streams (id, category_id, identifier)
        SELECT * FROM unnest(%b::bigint[], %b::integer[], %b::text[])
    ), new_runs AS (
        INSERT INTO runs (
            first_position, last_position, category_id, stream_id, first_version, recorded_at_us, payload_bytes
        )
        SELECT * FROM unnest(
            %b::bigint[], %b::bigint[], %b::integer[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[]
        )
    ), new_events AS (
        INSERT INTO events (position, event_id, schema_version, type, payload, leaf)
        SELECT * FROM unnest(%b::bigint[], %b::uuid[], %b::integer[], %b::text[], %b::bytea[], %b::bytea[])
    )
    INSERT INTO commits (first_position, last_position, root, chain)
    SELECT * FROM unnest(%b::bigint[], %b::bigint[], %b::bytea[], %b::bytea[])
"""


def write(
    connection: Connection,
    state: LogState,
    runs: Sequence[Run],
    rows: Sequence[EventRow],
    commits: Sequence[Commit],
) -> None:
    """Write commits with their runs and events; streams that are new get ids. `state` is that under the same lock."""
    new_categories = _new_ids((run.stream.category for run in runs), state.categories, state.last_category_id)
    categories = state.categories | new_categories
    new_streams = _new_ids((run.stream for run in runs), state.streams, state.last_stream_id)
    streams = state.streams | {name: StreamIds(id_, categories[name.category]) for name, id_ in new_streams.items()}
    if len(rows) >= COPY_EVENTS_MIN:
        with connection.cursor() as cursor, cursor.copy(_COPY_EVENTS) as copy:
            for piece in binary_copy(rows):
                copy.write(piece)
        rows = ()
    arguments = [
        *_columns([(id_, name) for name, id_ in new_categories.items()], 2),
        *_columns([(id_, categories[name.category], name.id) for name, id_ in new_streams.items()], 3),
        *_columns([_run_row(run, streams[run.stream]) for run in runs], 7),
        *_columns(rows, 6),
        *_columns([(each.first_position, each.last_position, each.root, each.chain) for each in commits], 4),
    ]
    connection.execute(_WRITE, arguments, prepare=True)


def _new_ids(names: Iterable[Any], known: dict[Any, Any], last_id: int) -> dict[Any, int]:
    """The names that are not known yet, in order, each with the next free id."""
    new = dict.fromkeys(name for name in names if name not in known)
    return {name: id_ for id_, name in enumerate(new, last_id + 1)}


def _run_row(run: Run, stream: StreamIds) -> tuple[int, ...]:
    return (
        run.first_position,
        run.last_position,
        stream.category_id,
        stream.id,
        run.first_version,
        run.recorded_at_us,
        run.payload_bytes,
    )


def _columns(rows: Sequence[tuple[Any, ...]], count: int) -> list[list[Any]]:
    """The rows as one list a column."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(count)]
