"""The ceiling: Polars sums the same usage from Parquet, with nothing to keep durable, exactly once or up to date."""

from pathlib import Path
from time import perf_counter

import metering_load as load
import polars as pl


def replay(parquet: Path, usage_events: int) -> float:
    """The three meters by hour, subject and group, from the file; usage events a second."""
    started_s = perf_counter()
    usage = pl.scan_parquet(parquet).with_columns(pl.col("time").dt.truncate("1h").alias("hour"))
    for event_type, groups, total in (
        (load.COUNTED, [], pl.len()),
        (load.BY_REGION, ["p.region"], pl.col("value").sum()),
        (load.BY_MODEL, ["p.model"], pl.col("value").sum()),
    ):
        of_type = usage.filter(pl.col("type").cast(pl.String) == event_type)
        of_type.group_by(["hour", "subject", *groups]).agg(total).collect()
    return usage_events / (perf_counter() - started_s)


def query(parquet: Path, subject: str) -> float:
    """One meter of one customer by day, from the file; seconds."""
    started_s = perf_counter()
    (
        pl.scan_parquet(parquet)
        .filter(pl.col("type").cast(pl.String) == load.BY_REGION, pl.col("subject").cast(pl.String) == subject)
        .group_by(pl.col("time").dt.truncate("1d"), "p.region")
        .agg(pl.col("value").sum())
        .collect()
    )
    return perf_counter() - started_s
