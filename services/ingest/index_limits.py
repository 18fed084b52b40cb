"""How large the parts of a dedupe index become, and when they are merged."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IndexLimits:
    """What bounds memory, files, and what is folded again after a kill."""

    spill_keys: int = 1 << 19
    """Keys in memory, 50 bytes each, before they are spilled to a run."""
    spill_folds: int = 8_192
    """Events of the log whose keys may be in memory only: after a kill they are read again."""
    merge_runs: int = 8
    """So many runs of one level are merged into one of the next."""
    runs_max: int = 128
    """With so many runs a spill waits for a merge."""


def level_of(rows: int, limits: IndexLimits) -> int:
    """0 for a run as it is spilled; one more for each time that `merge_runs` of the level below fit in."""
    level, rows_max = 0, 2 * limits.spill_keys
    while rows > rows_max:
        level, rows_max = level + 1, rows_max * limits.merge_runs
    return level


def due(rows: Sequence[int], limits: IndexLimits) -> slice | None:
    """Which runs are to be merged next, given the rows of each from the oldest to the newest; None when none are.

    They are neighbours in age, so that of two entries of a key the older one stays the older one.
    """
    levels: list[int] = []
    for count in reversed(rows):
        levels.append(max(level_of(count, limits), levels[-1] if levels else 0))
    levels.reverse()
    for level in sorted(set(levels)):
        if levels.count(level) >= limits.merge_runs:
            start = levels.index(level)
            return slice(start, start + levels.count(level))
    return None
