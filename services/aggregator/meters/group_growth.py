"""Warns of a meter whose groups have multiplied: hours with so many states cost memory, time and space."""

from collections.abc import Collection

import structlog
from sqlalchemy import Connection, Table, func, select

from services.aggregator.states.hour_states import hours_between
from services.aggregator.states.packed_states import LINE
from services.aggregator.tables import UsageTables
from services.aggregator.usage.usage_table import HOUR_US

HOUR_GROUPS_MAX = 100_000
"""Pairs of subject and group in one hour above which there is a warning: a second of work for each look at the hour."""

log = structlog.get_logger()


def warn_of_many_groups(
    connection: Connection, tables: UsageTables, table: Table, meter: str, hours: Collection[int]
) -> None:
    """One warning for each hour with too many groups, when the hour behind it gets its first usage.

    `hours` are about to be listed as hours of the meter, whose states lie in `table`.
    """
    listed = set(hours_between(connection, tables, meter, min(hours) - HOUR_US, max(hours) + 1))
    for hour_us in sorted(set(hours) - listed):
        if hour_us - HOUR_US in listed and _groups(connection, table, meter, hour_us - HOUR_US) > HOUR_GROUPS_MAX:
            log.warning(
                "a meter has very many groups; redefine it without the key that is different for every usage event",
                meter=meter,
                hour_us=hour_us - HOUR_US,
                groups_more_than=HOUR_GROUPS_MAX,
            )


def _groups(connection: Connection, table: Table, meter: str, hour_us: int) -> int:
    lines = func.length(table.c.group_text) - func.length(func.replace(table.c.group_text, LINE, "")) + 1
    counted = select(func.coalesce(func.sum(lines), 0)).where(table.c.meter == meter, table.c.hour_us == hour_us)
    return int(connection.execute(counted).scalar_one())
