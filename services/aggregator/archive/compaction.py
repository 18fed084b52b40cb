"""Which files are merged: neighbours of one stretch of time, and of a size, so that each usage event is rewritten few
times.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.aggregator.archive.archived_file import ArchivedFile
from services.aggregator.archive.time_cut import DAY_US, Stretch

FULL_ROWS = 512_000
"""A file of so many usage events is not merged any more."""

TIERS = (8_000, 64_000, FULL_ROWS)
"""Files below one of these are merged with their like, so that a usage event is rewritten once a tier."""

MERGE_FILES_MIN = 8
MERGE_FILES_MAX = 16
MERGE_ROWS_MAX = 2_000_000
MERGE_BYTES_MAX = 64 * 1024 * 1024
"""What one merge takes at most; the bytes are those on disk. Memory holds one row group of each file, some 4 MiB."""


@dataclass(frozen=True, slots=True)
class Appetite:
    """Which runs of files are worth a merge: at least `files_min` neighbours of fewer usage events than a tier."""

    files_min: int
    tiers: tuple[int, ...]


BY_AND_BY = Appetite(MERGE_FILES_MIN, TIERS)
AT_ONCE = Appetite(2, (FULL_ROWS,))


def next_merge(files: Sequence[ArchivedFile], appetite: Appetite = BY_AND_BY) -> tuple[ArchivedFile, ...]:
    """The files to merge next, in log order, those of the earliest stretch first; none when nothing is worth it.

    They cover one stretch of time, and no other file has usage of that stretch from between them: so the merged file
    covers a rectangle of times and positions, too.
    """
    for neighbours in _neighbours(files):
        for tier in appetite.tiers:
            for run in _runs(neighbours, tier):
                if len(run) >= appetite.files_min:
                    return tuple(run)
    return ()


def _neighbours(files: Sequence[ArchivedFile]) -> Iterator[list[ArchivedFile]]:
    """For each stretch, earliest first, its files in log order, broken off where one of another stretch intervenes."""
    by_stretch: defaultdict[Stretch, list[ArchivedFile]] = defaultdict(list)
    for file in files:
        by_stretch[Stretch(file.start_us, file.end_us)].append(file)
    coarse = [file for file in files if file.end_us - file.start_us > DAY_US]
    for stretch in sorted(by_stretch, key=lambda each: (each.start_us, each.end_us)):
        own = by_stretch[stretch]
        if len(own) > 1:
            rivals = coarse if stretch.end_us - stretch.start_us <= DAY_US else files
            strangers = [
                file
                for file in rivals
                if file.meets(stretch.start_us, stretch.end_us)
                and (file.start_us, file.end_us) != (stretch.start_us, stretch.end_us)
            ]
            yield from _broken_off(own, strangers)


def _broken_off(own: Sequence[ArchivedFile], strangers: Sequence[ArchivedFile]) -> Iterator[list[ArchivedFile]]:
    part: list[ArchivedFile] = []
    names = {file.name for file in own}
    for file in sorted((*own, *strangers), key=lambda each: each.after):
        if file.name in names:
            part.append(file)
        elif part:
            yield part
            part = []
    if part:
        yield part


def _runs(neighbours: Sequence[ArchivedFile], tier: int) -> Iterator[list[ArchivedFile]]:
    """Runs of files below `tier`, each within what one merge takes."""
    run: list[ArchivedFile] = []
    for file in neighbours:
        if run and (file.rows >= tier or not _fits(run, file)):
            yield run
            run = []
        if file.rows < tier:
            run.append(file)
    if run:
        yield run


def _fits(run: Sequence[ArchivedFile], file: ArchivedFile) -> bool:
    return (
        len(run) < MERGE_FILES_MAX
        and sum(each.rows for each in run) + file.rows <= MERGE_ROWS_MAX
        and sum(each.size for each in run) + file.size <= MERGE_BYTES_MAX
    )
