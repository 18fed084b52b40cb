"""How usage is cut into files by time: by days, and where that would make too many files, by months, years, or not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.aggregator.usage.archived_usage import EARLIEST_US, LATEST_US

FILES_MAX = 64
"""Files that one pool of usage is cut into at most."""

DAY_US = 86_400_000_000
_FINER = {"Y": "M", "M": "D"}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Times from `start_us` until before `end_us`: a UTC day, month or year, or all there are."""

    start_us: int
    end_us: int


ALL_TIMES = Stretch(EARLIEST_US, LATEST_US)


@dataclass(frozen=True, slots=True)
class _Part:
    unit: str
    first_day: int
    rows: int


def cut_times(instants_us: NDArray[np.int64], within: Stretch = ALL_TIMES) -> list[Stretch]:
    """Stretches that lie in `within`, share no instant, and hold all `instants_us`; at most FILES_MAX, in order.

    Each is one UTC day where that is possible. Else years, then months, are cut finer as far as the bound allows, those
    with the most usage first. None is without any of the instants.
    """
    return cut_days(*days_of(instants_us), within)


def days_of(instants_us: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The UTC days of the instants, as days since 1970 and in order, and how many instants each has."""
    return np.unique(np.floor_divide(instants_us, DAY_US), return_counts=True)


def cut_days(days: NDArray[np.int64], rows: NDArray[np.int64], within: Stretch) -> list[Stretch]:
    """As `cut_times`, of different days in order and the number of instants that each has."""
    parts = _parts(days, rows, "Y")
    if len(parts) > FILES_MAX:
        return [within]
    for unit in _FINER:
        for part in sorted((part for part in parts if part.unit == unit), key=lambda part: -part.rows):
            inside = _inside(days, part)
            finer = _parts(days[inside], rows[inside], _FINER[unit])
            if len(parts) - 1 + len(finer) <= FILES_MAX:
                parts = [*(other for other in parts if other is not part), *finer]
    return _clipped(sorted((_stretch(part) for part in parts), key=lambda stretch: stretch.start_us), within)


def _parts(days: NDArray[np.int64], rows: NDArray[np.int64], unit: str) -> list[_Part]:
    """The years, months or days that have usage, each by its first day since 1970."""
    firsts = days.astype("datetime64[D]").astype(f"datetime64[{unit}]").astype("datetime64[D]").astype(np.int64)
    found, places = np.unique(firsts, return_inverse=True)
    counts = np.bincount(places, weights=rows).astype(np.int64)
    return [_Part(unit, day, count) for day, count in zip(found.tolist(), counts.tolist(), strict=True)]


def _inside(days: NDArray[np.int64], part: _Part) -> NDArray[np.bool_]:
    return (days >= part.first_day) & (days < _end_day(part))


def _end_day(part: _Part) -> int:
    first = np.datetime64(part.first_day, "D").astype(f"datetime64[{part.unit}]")
    return int((first + 1).astype("datetime64[D]").astype(np.int64))


def _stretch(part: _Part) -> Stretch:
    return Stretch(part.first_day * DAY_US, _end_day(part) * DAY_US)


def _clipped(stretches: Sequence[Stretch], within: Stretch) -> list[Stretch]:
    """A part coarser than `within` is cut to it: whoever rewrites a file must stay inside its rectangle."""
    return [
        Stretch(max(stretch.start_us, within.start_us), min(stretch.end_us, within.end_us)) for stretch in stretches
    ]
