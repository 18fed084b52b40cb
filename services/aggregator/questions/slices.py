"""How windows lie over the UTC hours that states are kept in: which hours are whole, which are cut. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from services.aggregator.usage.usage_table import HOUR_US
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
        if len(self.edges_us) == 2:
            return pa.repeat(pa.scalar(0, pa.int64()), len(instants_us))
        return pa.array(np.searchsorted(np.array(self.edges_us, np.int64), instants_us.to_numpy(), side="right") - 1)


def _hour(instant_us: int) -> int:
    return instant_us - instant_us % HOUR_US
