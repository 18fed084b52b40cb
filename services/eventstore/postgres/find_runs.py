"""Which runs hold the events that are wanted: behind a position, in some categories, or between two versions."""

from collections.abc import Collection
from functools import lru_cache
from operator import attrgetter

from services.eventstore.event import StreamName, is_stream_name
from services.eventstore.postgres.query import Connection, rows_of
from services.eventstore.postgres.run import Run

# A run whose category is not its stream's is not found: the audit then misses its events, as it should.
_RUNS = """
    SELECT k.name, s.identifier, r.first_position, r.last_position, r.first_version, r.recorded_at_us, r.payload_bytes
    FROM ({runs}) AS r
    JOIN streams AS s ON s.id = r.stream_id AND s.category_id = r.category_id
    JOIN categories AS k ON k.id = r.category_id
"""
_BEHIND = _RUNS.format(
    runs="""
        SELECT * FROM runs
        WHERE first_position <= %(end)s AND first_position >= coalesce((
            SELECT first_position FROM runs WHERE first_position <= %(after)s + 1
            ORDER BY first_position DESC LIMIT 1
        ), 0)
        ORDER BY first_position
    """
)
# The runs of one category behind a position; the one that holds the position comes first.
_BEHIND_IN_CATEGORY = """
    (
        SELECT * FROM runs
        WHERE category_id = (SELECT id FROM categories WHERE name = %(name_{number})s)
            AND first_position <= %(end)s AND last_position > %(after)s AND first_position >= coalesce((
                SELECT first_position FROM runs
                WHERE category_id = (SELECT id FROM categories WHERE name = %(name_{number})s)
                    AND first_position <= %(after)s + 1
                ORDER BY first_position DESC LIMIT 1
            ), 0)
        ORDER BY first_position
    )
"""
# Stops at the run with which there are more events than asked for; `before` counts those of the runs in front.
_ENOUGH = """
    SELECT * FROM (
        SELECT *, coalesce(sum((last_position - greatest(first_position - 1, %(after)s))::integer) OVER (
            ORDER BY first_position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS before
        FROM (SELECT * FROM ({categories}) AS each ORDER BY first_position LIMIT %(limit)s + 1) AS behind
    ) AS counted
    WHERE before <= %(limit)s
    ORDER BY first_position
"""
_OF_STREAM = _RUNS.format(
    runs="""
        SELECT * FROM runs
        WHERE stream_id = %(stream)s AND first_version <= %(last)s AND first_version >= coalesce((
            SELECT first_version FROM runs WHERE stream_id = %(stream)s AND first_version <= %(first)s
            ORDER BY first_version DESC LIMIT 1
        ), 0)
        ORDER BY first_version
    """
)
_NEWEST_VERSION = """
    SELECT s.id, r.first_version + r.last_position - r.first_position
    FROM categories AS k
    JOIN streams AS s ON s.category_id = k.id
    CROSS JOIN LATERAL (SELECT * FROM runs WHERE stream_id = s.id ORDER BY first_version DESC LIMIT 1) AS r
    WHERE k.name = %s AND s.identifier = %s
"""


def runs_behind(connection: Connection, after: int, end: int, categories: Collection[str], limit: int) -> list[Run]:
    """Runs that hold the next events in log order; among categories, one more if there are more events than asked."""
    if not categories:
        return _runs(connection, _BEHIND, {"after": after, "end": min(end, after + limit)})
    names = sorted({name for name in categories if is_stream_name(StreamName(name, "0"))})
    if not names:
        return []
    arguments: dict[str, int | str] = {f"name_{number}": name for number, name in enumerate(names)}
    return _runs(connection, _categories_behind(len(names)), arguments | {"after": after, "end": end, "limit": limit})


def runs_between(connection: Connection, stream_id: int, first_version: int, last_version: int) -> list[Run]:
    """The runs of a stream that hold the versions between these two, both included."""
    return _runs(connection, _OF_STREAM, {"stream": stream_id, "first": first_version, "last": last_version})


def newest_version(connection: Connection, stream: StreamName) -> tuple[int, int] | None:
    """The id of a stream and the version of its newest event; None when it does not exist."""
    if not is_stream_name(stream):
        return None
    rows = rows_of(connection, _NEWEST_VERSION, (stream.category, stream.id))
    return (rows[0][0], rows[0][1]) if rows else None


def _runs(connection: Connection, query: str, arguments: dict[str, int | str]) -> list[Run]:
    """The runs that a query finds; SQL promises no order behind a join, so they are sorted here."""
    runs = [
        Run(StreamName(category, identifier), *rest)
        for category, identifier, *rest in rows_of(connection, query, arguments)
    ]
    runs.sort(key=attrgetter("first_position"))
    return runs


@lru_cache
def _categories_behind(count: int) -> str:
    """Every category gives its next runs from the index, merged in log order."""
    categories = " UNION ALL ".join(_BEHIND_IN_CATEGORY.format(number=number) for number in range(count))
    return _RUNS.format(runs=_ENOUGH.format(categories=categories))
