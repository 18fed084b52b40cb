"""States of whole hours: rows in SQL outside, Arrow tables inside."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, Select, Table, bindparam, delete, exists, select

from services.aggregator.aggregations.aggregation import STATE_TYPES, Aggregation
from services.aggregator.states.decimal_column import NUMBER, decimal_texts
from services.aggregator.states.packed_states import packed, unpacked
from services.aggregator.tables import UsageTables

KEYS = ("hour_us", "subject", "group_text")
"""The key columns of a table of hour states of one meter."""

VALUES_MAX = 1_000
"""Values in one IN list."""

FETCH_ROWS = 50_000

STATEMENTS_MAX = 32
"""Statements that are kept: one for each table of a generation and the columns that are read."""

_RECTANGLE = (("hour_us", "hours"), ("subject", "subjects"))
_NOTHING_ASKED: Mapping[str, Any] = {}
_KEY_TYPES = (pa.int64(), pa.utf8(), pa.utf8())


def state_table(tables: UsageTables, aggregation: Aggregation) -> Table:
    """The table that holds the states of an aggregation."""
    if is_packed(aggregation):
        return tables.amounts
    return tables.texts if "text" in aggregation.columns else tables.moments


def is_packed(aggregation: Aggregation) -> bool:
    """Whether all groups of an hour and subject share a row (packed_states.py); else each has rows of its own."""
    return not {"at_us", "text"}.intersection(aggregation.columns)


def read_rectangle(
    connection: Connection,
    tables: UsageTables,
    meter: str,
    aggregation: Aggregation,
    hours: Sequence[int],
    subjects: Sequence[str],
) -> Iterator[pa.Table]:
    """The states of these hours and subjects, by a look-up of every pair."""
    chosen = _rectangle(state_table(tables, aggregation), aggregation.columns)
    for some_hours in _parts(hours):
        for some_subjects in _parts(subjects):
            asked = {"meter": meter, "hours": some_hours, "subjects": some_subjects}
            yield from _read(connection, chosen, aggregation, asked)


def read_range(
    connection: Connection,
    tables: UsageTables,
    meter: str,
    aggregation: Aggregation,
    start_us: int,
    end_us: int,
    subjects: Sequence[str] = (),
) -> Iterator[pa.Table]:
    """The states of the hours from `start_us` until before `end_us`, of these subjects (none given: all), by a scan."""
    table = state_table(tables, aggregation)
    chosen = _select(table, meter, aggregation).where(table.c.hour_us >= start_us, table.c.hour_us < end_us)
    if subjects:
        chosen = chosen.where(table.c.subject.in_(subjects))
    yield from _read(connection, chosen, aggregation)


def hours_between(connection: Connection, tables: UsageTables, meter: str, start_us: int, end_us: int) -> list[int]:
    """The hours from `start_us` until before `end_us` in which the meter has usage, in order."""
    hours = tables.meter_hours
    chosen = select(hours.c.hour_us).where(hours.c.meter == meter).order_by(hours.c.hour_us)
    within = chosen.where(hours.c.hour_us >= start_us, hours.c.hour_us < end_us)
    return list(connection.execute(within).scalars().all())


def delete_rectangle(
    connection: Connection, tables: UsageTables, meters: Sequence[str], hours: Sequence[int], subjects: Sequence[str]
) -> None:
    """Delete the states of these meters, hours and subjects, whatever the aggregation."""
    for table in _state_tables(tables):
        for meter in meters:
            for some_hours in _parts(hours):
                for some_subjects in _parts(subjects):
                    chosen = (table.c.meter == meter, table.c.hour_us.in_(some_hours))
                    connection.execute(delete(table).where(*chosen, table.c.subject.in_(some_subjects)))


def delete_since(connection: Connection, tables: UsageTables, meter: str, start_us: int) -> None:
    """Delete all states of one meter from the hour `start_us` on, whatever the aggregation."""
    for table in (*_state_tables(tables), tables.meter_hours):
        connection.execute(delete(table).where(table.c.meter == meter, table.c.hour_us >= start_us))


def forget_empty_hours(connection: Connection, tables: UsageTables, hours: Sequence[int]) -> None:
    """Take those of these hours off the lists of meters that have no state in them any more."""
    listed = tables.meter_hours
    is_empty = [
        ~exists().where(table.c.meter == listed.c.meter, table.c.hour_us == listed.c.hour_us)
        for table in _state_tables(tables)
    ]
    for some_hours in _parts(hours):
        connection.execute(delete(listed).where(listed.c.hour_us.in_(some_hours), *is_empty))


def state_rows(states: pa.Table, meter: str, aggregation: Aggregation, table: Table) -> list[tuple[Any, ...]]:
    """The rows of `table` that hold `states`, in key order, which is how a database likes them."""
    if is_packed(aggregation):
        states = packed(states, aggregation.columns)
    else:
        states = states.sort_by([(name, "ascending") for name in KEYS])
    columns: dict[str, Iterable[Any]] = {name: _python(states[name]) for name in (*KEYS, *aggregation.columns)}
    columns["meter"] = repeat(meter)
    return list(zip(*(columns.get(column.name, repeat(None)) for column in table.columns), strict=False))


@lru_cache(maxsize=STATEMENTS_MAX)
def _rectangle(table: Table, columns: tuple[str, ...]) -> Select[Any]:
    """The states at `hours` of `subjects` of `meter`; built once, as building takes long beside a look-up."""
    chosen = select(*(table.c[name] for name in (*KEYS, *columns))).where(table.c.meter == bindparam("meter"))
    is_asked = (table.c[name].in_(bindparam(key, expanding=True)) for name, key in _RECTANGLE)
    return chosen.where(*is_asked)


def _select(table: Table, meter: str, aggregation: Aggregation) -> Select[Any]:
    return select(*(table.c[name] for name in (*KEYS, *aggregation.columns))).where(table.c.meter == meter)


def _read(
    connection: Connection, chosen: Select[Any], aggregation: Aggregation, asked: Mapping[str, Any] = _NOTHING_ASKED
) -> Iterator[pa.Table]:
    result = connection.execute(chosen, asked, execution_options={"yield_per": FETCH_ROWS})
    for rows in result.partitions():
        yield _packed_states(rows, aggregation) if is_packed(aggregation) else _states(rows, aggregation)


def _states(rows: Sequence[Sequence[Any]], aggregation: Aggregation) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    types = [*_KEY_TYPES, *(STATE_TYPES[name] for name in aggregation.columns)]
    arrays = [_arrow(column, kind) for column, kind in zip(columns, types, strict=True)]
    return pa.Table.from_arrays(arrays, [*KEYS, *aggregation.columns])


def _packed_states(rows: Sequence[Sequence[Any]], aggregation: Aggregation) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    types = [pa.int64(), pa.utf8(), pa.utf8(), *(pa.utf8() for _ in aggregation.columns)]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    return unpacked(pa.Table.from_arrays(arrays, [*KEYS, *aggregation.columns]), aggregation.columns)


def _arrow(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    return pa.array(values, pa.utf8()).cast(NUMBER) if kind == NUMBER else pa.array(values, kind)


def _python(column: pa.ChunkedArray) -> list[Any]:
    values: list[Any] = (decimal_texts(column) if column.type == NUMBER else column).to_pylist()
    return values


def _state_tables(tables: UsageTables) -> tuple[Table, ...]:
    return tables.amounts, tables.moments, tables.texts


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), VALUES_MAX):
        yield values[start : start + VALUES_MAX]
