"""Merges runs of the dedupe index into one stream of entries by key, in parts that fit into memory."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from services.ingest.index_entries import Entries, in_key_order, joined

PART_ROWS = 1 << 16
"""Entries of each run that are held in memory at once."""


class Sorted(Protocol):
    """Entries in key order, no key twice."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def read(self, start: int, count: int) -> Entries:
        """Up to `count` entries from `start` on."""
        ...


class SortedEntries:
    """Entries in memory that are in order already."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, start: int, count: int) -> Entries:
        """Up to `count` entries from `start` on."""
        return self._entries.part(start, start + count)


def merged(runs: Sequence[Sorted]) -> Iterator[Entries]:
    """The first entry of each key, by key; of `runs` from the oldest to the newest."""
    starts = [0] * len(runs)
    rows = PART_ROWS
    while True:
        open_runs = [number for number, run in enumerate(runs) if starts[number] < len(run)]
        if not open_runs:
            return
        parts = {number: runs[number].read(starts[number], rows) for number in open_runs}
        counts = _below_fence(runs, starts, parts)
        if not any(counts.values()):
            rows *= 2  # the parts hold one upper half only: two keys that differ in the lower one
            continue
        for number, count in counts.items():
            starts[number] += count
        yield in_key_order(joined([parts[number].part(0, count) for number, count in counts.items()]))


def _below_fence(runs: Sequence[Sorted], starts: Sequence[int], parts: dict[int, Entries]) -> dict[int, int]:
    """How much of each part comes before anything that is not read yet."""
    goes_on = [part for number, part in parts.items() if starts[number] + len(part) < len(runs[number])]
    if not goes_on:
        return {number: len(part) for number, part in parts.items()}
    fence = min(part.hi[-1] for part in goes_on)
    return {number: int(part.hi.searchsorted(fence)) for number, part in parts.items()}
