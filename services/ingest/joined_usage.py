"""Brings the usage events of several requests together into one record batch in stored form."""

from collections.abc import Sequence
from itertools import groupby
from typing import TypeAlias

import pyarrow as pa

from services.ingest.usage_columns import UsageColumns, concatenated
from services.ingest.usage_rows import UsageRows, joined_rows

Usage: TypeAlias = UsageRows | UsageColumns
"""Valid usage events in one of the two forms in which they come through the doors."""


def joined(parts: Sequence[Usage]) -> pa.RecordBatch:
    """The usage events of all parts, in order; at least one part. Neighbouring rows become columns at once."""
    batches: list[pa.RecordBatch] = []
    for _, run in groupby(parts, type):
        batches += _batches(list(run))
    return concatenated(batches)


def _batches(parts: Sequence[Usage]) -> list[pa.RecordBatch]:
    rows = [part for part in parts if isinstance(part, UsageRows)]
    if rows:
        return [joined_rows(rows).batch()]
    return [part.batch for part in parts if isinstance(part, UsageColumns)]
