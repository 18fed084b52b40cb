"""Where two generations of a projection differ: how many keys of each table, and the first of them."""

from typing import Any, TypeVar

from sqlalchemy import Connection, Subquery, Table, except_, func, select, union

from services.projection.projection import TableDifference
from services.projection.tableset import TableSet

T = TypeVar("T")

EXAMPLES_MAX = 100
VALUE_CHARACTERS_MAX = 80


def table_differences(
    connection: Connection, live: TableSet[T], rebuilt: TableSet[T], examples: int
) -> tuple[TableDifference, ...]:
    """The tables that differ, by name, each with up to `examples` keys; both are read in one snapshot."""
    twins = {name.removesuffix(rebuilt.suffix): table for name, table in rebuilt.metadata.tables.items()}
    pairs = sorted((name.removesuffix(live.suffix), table) for name, table in live.metadata.tables.items())
    found = (_difference(connection, name, table, twins[name], examples) for name, table in pairs)
    return tuple(difference for difference in found if difference.rows)


def _difference(connection: Connection, name: str, live: Table, rebuilt: Table, examples: int) -> TableDifference:
    keys = _differing_keys(live, rebuilt)
    columns = list(keys.columns)
    first = connection.execute(select(*columns).order_by(*columns).limit(examples)) if examples else ()
    return TableDifference(
        table=name,
        rows=_count(connection, keys),
        live_rows=_count(connection, live),
        rebuilt_rows=_count(connection, rebuilt),
        example_keys=tuple(_shown(row._mapping) for row in first),
    )


def _differing_keys(live: Table, rebuilt: Table) -> Subquery:
    """The primary keys of rows that stand on one side only, or differently on both; each key once."""
    only_live = except_(select(live), select(rebuilt)).subquery()
    only_rebuilt = except_(select(rebuilt), select(live)).subquery()
    names = [column.name for column in live.primary_key.columns]
    sides = [select(*(side.c[name] for name in names)) for side in (only_live, only_rebuilt)]
    return union(*sides).subquery()


def _count(connection: Connection, rows: Table | Subquery) -> int:
    return connection.execute(select(func.count()).select_from(rows)).scalar_one()


def _shown(key: Any) -> str:
    return ", ".join(f"{name}={_text(value)}" for name, value in key.items())


def _text(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= VALUE_CHARACTERS_MAX else text[:VALUE_CHARACTERS_MAX] + "…"
