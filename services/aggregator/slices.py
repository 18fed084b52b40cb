"""How windows lie over the UTC hours that states are kept in: which hours are whole, which are cut. Pure."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.usage_table import HOUR_US, floor_hours
from services.kernel.calendar import Span
from services.kernel.clock import epoch_us


@dataclass(frozen=True, slots=True)
class Slices:
    """Windows that tile a range, in microseconds since 1970.

    `edges_us` are the start of each window and the end of the last. `cut_hours` are the hours (by their first
    microsecond) that an edge falls inside of: their states say nothing exact, so they are counted from usage events.
    """

    edges_us: tuple[int, ...]
    cut_hours: tuple[int, ...]

    @staticmethod
    def of(windows: Sequence[Span]) -> "Slices":
        """The slices of one or more windows, each beginning where the one before ends."""
        edges = (*(epoch_us(window.start) for window in windows), epoch_us(windows[-1].end))
        return Slices(edges, tuple(sorted({_hour(edge) for edge in edges if edge % HOUR_US})))

    @property
    def start_us(self) -> int:
        """The first instant."""
        return self.edges_us[0]

    @property
    def end_us(self) -> int:
        """The first instant after the last window."""
        return self.edges_us[-1]

    def windows_of(self, instants_us: pa.ChunkedArray) -> pa.Array:
        """The number of the window, from 0, that holds each instant; all of them must lie within the range."""
        hours = floor_hours(instants_us).combine_chunks().dictionary_encode()
        different = hours.dictionary.to_pylist()
        at_hour_start = [bisect_right(self.edges_us, hour) - 1 for hour in different]
        windows = pa.array(at_hour_start, pa.int64()).take(hours.indices)
        for edges in self._edges_inside(different):
            is_behind = pc.greater_equal(instants_us.combine_chunks(), pa.array(edges, pa.int64()).take(hours.indices))
            windows = pc.add(windows, pc.fill_null(is_behind.cast(pa.int64()), 0))
        return windows

    def _edges_inside(self, hours: Sequence[int]) -> list[list[int | None]]:
        """For each hour its first edge inside, then for each its second, and so on; None where it has no more."""
        inside = [self._edges_within(hour) for hour in hours]
        most = max(map(len, inside), default=0)
        return [[edges[n] if n < len(edges) else None for edges in inside] for n in range(most)]

    def _edges_within(self, hour: int) -> tuple[int, ...]:
        return self.edges_us[bisect_right(self.edges_us, hour) : bisect_right(self.edges_us, hour + HOUR_US - 1)]


def _hour(instant_us: int) -> int:
    return instant_us - instant_us % HOUR_US
