"""The states that the read model holds, read from its rows and nothing else."""

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import zip_longest

from sqlalchemy import Connection, RowMapping, Table, select

from services.aggregator.check.plain_meter import PlainMeter
from services.aggregator.check.plain_usage import units
from services.aggregator.check.state import State, StateKey
from services.aggregator.tables import UsageTables

FETCH_ROWS = 10_000
SUBJECTS_MAX = 1_000
"""Subjects in one IN list."""


def held_states(
    connection: Connection,
    tables: UsageTables,
    meter: PlainMeter,
    hours: tuple[int, int],
    subjects: Sequence[str] | None = None,
) -> dict[StateKey, State]:
    """The states of one meter from the first of `hours` until before the second, of these subjects (None: all).

    An hour that is not listed for the meter holds nothing, because no query would look there.
    """
    listed = _listed_hours(connection, tables, meter.slug, hours)
    texts: dict[StateKey, set[str]] = {}
    states: dict[StateKey, State] = {}
    for row in _rows(connection, state_table(tables, meter), meter.slug, hours, subjects):
        if row["hour_us"] not in listed:
            continue
        for group_text, state in _states(row):
            key = StateKey(meter.slug, row["hour_us"], row["subject"], _group(meter, group_text))
            if "text" in row:
                texts.setdefault(key, set()).add(row["text"])
            else:
                states[key] = state
    return {**states, **{key: State(texts=frozenset(some)) for key, some in texts.items()}}


def state_table(tables: UsageTables, meter: PlainMeter) -> Table:
    """The table that holds the meter's states."""
    match meter.newest.aggregation:
        case "unique_count":
            return tables.texts
        case "first" | "last" | "weighted_sum":
            return tables.moments
        case _:
            return tables.amounts


def _rows(
    connection: Connection, table: Table, slug: str, hours: tuple[int, int], subjects: Sequence[str] | None
) -> Iterator[RowMapping]:
    chosen = select(table).where(table.c.meter == slug, table.c.hour_us >= hours[0], table.c.hour_us < hours[1])
    if subjects is None:
        yield from connection.execute(chosen.execution_options(yield_per=FETCH_ROWS)).mappings()
        return
    for start in range(0, len(subjects), SUBJECTS_MAX):
        some = chosen.where(table.c.subject.in_(subjects[start : start + SUBJECTS_MAX]))
        yield from connection.execute(some).mappings()


def _listed_hours(connection: Connection, tables: UsageTables, slug: str, hours: tuple[int, int]) -> frozenset[int]:
    listed = tables.meter_hours
    chosen = select(listed.c.hour_us).where(listed.c.meter == slug)
    return frozenset(
        connection.execute(chosen.where(listed.c.hour_us >= hours[0], listed.c.hour_us < hours[1])).scalars()
    )


def _group(meter: PlainMeter, group_text: str) -> tuple[str, ...]:
    """The values of the meter's group_by keys; a state of an older version may have fewer."""
    values = tuple(json.loads(group_text))
    return values + ("",) * (len(meter.newest.group_by) - len(values))


def _states(row: RowMapping) -> Iterator[tuple[str, State]]:
    """The group and the state of a row; of a row of amounts, which has a line for each group, all of them."""
    if "text" in row:
        yield row["group_text"], State()
    elif "at_us" in row:
        place = (row["at_us"], row["position"], row["row"])
        yield row["group_text"], State(number=units(Decimal(row["number"])), place=place)
    else:
        # A line that is missing is a state of nothing: a difference, like any other.
        lines = (() if row[name] is None else row[name].split("\n") for name in ("group_text", "count", "number"))
        for group_text, count, number in zip_longest(*lines):
            yield (
                group_text or "[]",
                State(
                    count=None if count is None else int(count),
                    number=None if number is None else units(Decimal(number)),
                ),
            )
