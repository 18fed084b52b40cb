"""Usage events as they come through the doors for rows: parallel lists, until their group makes columns of them.

A few rows are gathered faster as lists than as Arrow columns: a batch of one row costs as much to make as one of fifty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from services.eventstore.usage_batch import usage_batch_of
from services.ingest.compute import ROW_BYTES
from services.ingest.partition import rows_by_partition

_PROPERTIES_A_ROW: Final = 4
"""So many properties of a usage event are as much work as the rest of it."""


@dataclass(frozen=True, slots=True)
class UsageRows:
    """One entry a usage event in each list; times in microseconds since 1970-01-01 UTC. Valid by construction:
    only `validate` makes them from what a producer sent. The lists are never changed.
    """

    sources: Sequence[str]
    types: Sequence[str]
    subjects: Sequence[str]
    ids: Sequence[str]
    times_us: Sequence[int]
    values: Sequence[Decimal]
    properties: Sequence[Mapping[str, str]]

    def __len__(self) -> int:
        return len(self.ids)

    def work(self) -> int:
        """What it is to make columns of them, in rows of ordinary size."""
        texts = [text for properties in self.properties for text in properties.values()]
        return max(len(self), len(texts) // _PROPERTIES_A_ROW, sum(map(len, texts)) // ROW_BYTES)

    def take(self, rows: Sequence[int]) -> "UsageRows":
        """The usage events of these rows, in this order."""
        return UsageRows(
            [self.sources[row] for row in rows],
            [self.types[row] for row in rows],
            [self.subjects[row] for row in rows],
            [self.ids[row] for row in rows],
            [self.times_us[row] for row in rows],
            [self.values[row] for row in rows],
            [self.properties[row] for row in rows],
        )

    def property_keys(self) -> set[str]:
        """Every property key that occurs."""
        return set().union(*self.properties)

    def source_names(self) -> set[str]:
        """Every source that occurs."""
        return set(self.sources)

    def divided(self, partitions: int) -> "dict[int, tuple[NDArray[np.int64] | None, UsageRows]]":
        """By partition: which rows belong to it (None for all), in order, and these rows."""
        rows = rows_by_partition(self.sources, partitions)
        if len(rows) == 1:
            return dict.fromkeys(rows, (None, self))
        return {partition: (np.array(own, np.int64), self.take(own)) for partition, own in rows.items()}

    def batch(self) -> pa.RecordBatch:
        """The rows as they are stored."""
        return usage_batch_of(
            self.sources, self.types, self.subjects, self.ids, self.times_us, self.values, self.properties
        )


def joined_rows(parts: Sequence[UsageRows]) -> UsageRows:
    """The usage events of all parts, in order; at least one part."""
    if len(parts) == 1:
        return parts[0]
    return UsageRows(
        list(chain.from_iterable(part.sources for part in parts)),
        list(chain.from_iterable(part.types for part in parts)),
        list(chain.from_iterable(part.subjects for part in parts)),
        list(chain.from_iterable(part.ids for part in parts)),
        list(chain.from_iterable(part.times_us for part in parts)),
        list(chain.from_iterable(part.values for part in parts)),
        list(chain.from_iterable(part.properties for part in parts)),
    )
