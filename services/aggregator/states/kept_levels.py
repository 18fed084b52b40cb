"""The latest level of each subject and group before an hour, from the hours that are kept, in SQL."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
from sqlalchemy import Connection, and_, func, select

from services.aggregator.aggregations.aggregation import STATE_TYPES
from services.aggregator.aggregations.time_order import COLUMNS
from services.aggregator.states.counting import WHOLE_KEYS
from services.aggregator.states.decimal_column import NUMBER
from services.aggregator.tables import UsageTables

FETCH_ROWS = 50_000

_TYPES = {**dict.fromkeys(WHOLE_KEYS, pa.utf8()), **{name: STATE_TYPES[name] for name in COLUMNS}}


def levels_before(
    connection: Connection, tables: UsageTables, meter: str, hour_us: int, subjects: Sequence[str]
) -> Iterator[pa.Table]:
    """One row a subject (of these; none given: all) and group: number, at_us, position and row of its latest level."""
    moments = tables.moments
    chosen = [moments.c.meter == meter, moments.c.hour_us < hour_us]
    if subjects:
        chosen.append(moments.c.subject.in_(subjects))
    latest = (
        select(moments.c.subject, moments.c.group_text, func.max(moments.c.hour_us).label("hour_us"))
        .where(*chosen)
        .group_by(moments.c.subject, moments.c.group_text)
        .subquery()
    )
    is_latest = and_(
        moments.c.meter == meter,
        moments.c.hour_us == latest.c.hour_us,
        moments.c.subject == latest.c.subject,
        moments.c.group_text == latest.c.group_text,
    )
    asked = select(*(moments.c[name] for name in _TYPES)).join(latest, is_latest)
    for rows in connection.execute(asked.execution_options(yield_per=FETCH_ROWS)).partitions():
        columns = zip(*rows, strict=True)
        yield pa.table([_arrow(column, kind) for column, kind in zip(columns, _TYPES.values(), strict=True)], [*_TYPES])


def _arrow(values: Sequence[object], kind: pa.DataType) -> pa.Array:
    return pa.array(values, pa.utf8()).cast(NUMBER) if kind == NUMBER else pa.array(values, kind)
