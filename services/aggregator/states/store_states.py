"""Puts counted usage where it is kept: merged with the hour states that stand already."""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection

from services.aggregator.aggregations.aggregation import Aggregation
from services.aggregator.aggregations.table import AGGREGATIONS
from services.aggregator.meters.definition import Definition
from services.aggregator.meters.group_growth import warn_of_many_groups
from services.aggregator.states.counting import count_usage
from services.aggregator.states.hour_states import KEYS, hours_between, read_rectangle, state_rows, state_table
from services.aggregator.states.packed_states import PLACE
from services.aggregator.tables import UsageTables
from services.projection.upsert import insert_missing, upsert

LOOK_UPS_MAX = 20_000
"""Pairs of hour and subject that are looked up at once although only some of them were touched."""


def store_usage(connection: Connection, tables: UsageTables, usage: pa.Table, meters: Iterable[Definition]) -> None:
    """Count the usage events of one table into the hours of each meter."""
    for meter in meters:
        counted = count_usage(usage, meter, "hour_us")
        if counted.num_rows:
            _store(connection, tables, meter.slug, AGGREGATIONS[meter.aggregation], counted)


def _store(
    connection: Connection, tables: UsageTables, meter: str, aggregation: Aggregation, counted: pa.Table
) -> None:
    table = state_table(tables, aggregation)
    if table is tables.texts:
        insert_missing(connection, table, state_rows(counted, meter, aggregation, table))
    else:
        merged = _merged_with_standing(connection, tables, meter, aggregation, counted)
        upsert(connection, table, state_rows(merged, meter, aggregation, table))
    hours = pc.unique(counted["hour_us"]).to_pylist()
    warn_of_many_groups(connection, tables, table, meter, hours)
    insert_missing(connection, tables.meter_hours, [(meter, hour) for hour in hours])


def _merged_with_standing(
    connection: Connection, tables: UsageTables, meter: str, aggregation: Aggregation, counted: pa.Table
) -> pa.Table:
    standing = [
        states
        for hours, subjects in rectangles(_touched(connection, tables, meter, counted))
        for states in read_rectangle(connection, tables, meter, aggregation, hours, subjects)
    ]
    if not standing:
        return counted
    touched = pa.concat_tables(standing).join(counted.select(PLACE), keys=list(PLACE), join_type="left semi")
    return aggregation.merge(pa.concat_tables([counted, touched.select(counted.schema.names)]), KEYS)


def _touched(connection: Connection, tables: UsageTables, meter: str, counted: pa.Table) -> pa.Table:
    """Hours and subjects of `counted` where the meter may have states already, each pair once."""
    bounds = pc.min_max(counted["hour_us"]).as_py()
    standing = hours_between(connection, tables, meter, bounds["min"], bounds["max"] + 1)
    known = counted.filter(pc.is_in(counted["hour_us"], pa.array(standing, pa.int64())))
    return known.group_by(["hour_us", "subject"]).aggregate([])


def rectangles(pairs: pa.Table) -> Iterator[tuple[list[int], list[str]]]:
    """Few rectangles of hours and subjects that hold all pairs and not many others."""
    hours, subjects = pc.unique(pairs["hour_us"]), pc.unique(pairs["subject"])
    if len(hours) * len(subjects) <= LOOK_UPS_MAX:
        yield hours.to_pylist(), subjects.to_pylist()
    elif len(hours) <= len(subjects):
        for row in pairs.group_by("hour_us").aggregate([("subject", "list")]).to_pylist():
            yield [row["hour_us"]], row["subject_list"]
    else:
        for row in pairs.group_by("subject").aggregate([("hour_us", "list")]).to_pylist():
            yield row["hour_us_list"], [row["subject"]]
