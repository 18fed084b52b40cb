"""Usage events as parallel columns: what the doors of ingest hand to the recorder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain

import pyarrow as pa

from services.eventstore.usage_batch import usage_batch_of


@dataclass(frozen=True, slots=True)
class UsageColumns:
    """One entry a usage event in each column; times in microseconds since 1970-01-01 UTC. Valid by construction:
    only `validate` makes them from what a producer sent. The columns are never changed.
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

    def take(self, rows: Sequence[int]) -> "UsageColumns":
        """The usage events of these rows, in this order."""
        return UsageColumns(
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

    def batch(self) -> pa.RecordBatch:
        """The columns as they are stored."""
        return usage_batch_of(
            self.sources, self.types, self.subjects, self.ids, self.times_us, self.values, self.properties
        )


def joined(parts: Sequence[UsageColumns]) -> UsageColumns:
    """The usage events of all parts, in order; at least one part."""
    if len(parts) == 1:
        return parts[0]
    return UsageColumns(
        list(chain.from_iterable(part.sources for part in parts)),
        list(chain.from_iterable(part.types for part in parts)),
        list(chain.from_iterable(part.subjects for part in parts)),
        list(chain.from_iterable(part.ids for part in parts)),
        list(chain.from_iterable(part.times_us for part in parts)),
        list(chain.from_iterable(part.values for part in parts)),
        list(chain.from_iterable(part.properties for part in parts)),
    )
