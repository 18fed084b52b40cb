"""The reference load W of the benchmarks, week by week: that of `meterlog simulate`, in columns."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa

from services.cli.simulating.load import MODELS, REGIONS, TYPES, Load, customer_key, load_batches

WEEK = Load()
START = WEEK.start_at
COUNTED, BY_REGION, BY_MODEL = TYPES
SUBJECTS = [customer_key(number) for number in range(WEEK.customers)]
ID_BYTES = 16

assert (len(MODELS), len(REGIONS)) == (20, 5), "two properties, of 20 and of 5 values"


def batches(events: int, rows: int, week: int = 0) -> Iterator[pa.RecordBatch]:
    """The usage events of one week, in the columns of RecordUsageColumns; every week has other ones."""
    start_at = START + week * timedelta(days=7)
    return load_batches(replace(WEEK, events=events, seed=week + 1, start_at=start_at), rows)
