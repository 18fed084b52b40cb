"""Hours and subjects whose states are counted anew together. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.states.store_states import LOOK_UPS_MAX, rectangles
from services.aggregator.usage.usage_reading import Extent
from services.aggregator.usage.usage_table import HOUR_US

SUBJECTS_MAX = 1_000
"""Subjects that usage is read for by name; usage of more is read whole, and what is not asked for left out."""


@dataclass(frozen=True, slots=True)
class Area:
    """Pairs of hour and subject, each once: columns `hour_us` and `subject` (text), at least one row."""

    pairs: pa.Table

    @staticmethod
    def of(touched: Iterable[pa.Table]) -> "Area | None":
        """The pairs of these tables, and others where few rectangles are cheaper; None for none."""
        found: pa.Table | None = None
        for part in touched:
            pairs = part.select(["hour_us", "subject"])
            both = pairs if found is None else pa.concat_tables([found, pairs])
            found = both.group_by(["hour_us", "subject"]).aggregate([])
        return None if found is None or not found.num_rows else Area(_filled(found))

    def rectangles(self) -> Iterator[tuple[list[int], list[str]]]:
        """Hours and subjects of which every pair is in the area; together all of it."""
        return rectangles(self.pairs)

    def hours(self) -> list[int]:
        """The different hours, in order."""
        hours: list[int] = pc.unique(self.pairs["hour_us"]).sort().to_pylist()
        return hours

    def extent(self, types: tuple[str, ...]) -> Extent:
        """What usage must be read to count the area anew, and not much more."""
        hours, subjects = self.hours(), pc.unique(self.pairs["subject"]).sort().to_pylist()
        named = tuple(subjects) if len(subjects) <= SUBJECTS_MAX else ()
        return Extent(hours[0], hours[-1] + HOUR_US, named, types, tuple(hours))

    def holds(self, usage: pa.Table) -> pa.Array:
        """Whether each usage event is of one of the pairs."""
        hours, subjects = pc.unique(self.pairs["hour_us"]), pc.unique(self.pairs["subject"])
        column = usage["subject"].combine_chunks()
        of_subject = pc.index_in(column.dictionary, subjects).take(column.indices)
        asked = _codes(pc.index_in(usage["hour_us"].combine_chunks(), hours), of_subject, len(subjects))
        of_pairs = (pc.index_in(self.pairs["hour_us"], hours), pc.index_in(self.pairs["subject"], subjects))
        return pc.is_in(asked, _codes(*of_pairs, len(subjects)), skip_nulls=True)


def _filled(pairs: pa.Table) -> pa.Table:
    """The pairs, filled up to the whole rectangle where that is small, which a database deletes at once."""
    hours, subjects = pc.unique(pairs["hour_us"]), pc.unique(pairs["subject"])
    if len(hours) * len(subjects) > LOOK_UPS_MAX or len(hours) * len(subjects) == pairs.num_rows:
        return pairs
    repeated = pa.array([number for number in range(len(hours)) for _ in range(len(subjects))], pa.int64())
    cycled = pa.array([number for _ in range(len(hours)) for number in range(len(subjects))], pa.int64())
    return pa.table({"hour_us": hours.take(repeated), "subject": subjects.take(cycled)})


def _codes(hours: pa.Array, subjects: pa.Array, subject_count: int) -> pa.Array:
    return pc.add(pc.multiply(hours.cast(pa.int64()), subject_count), subjects.cast(pa.int64()))
