"""A run: consecutive events of one stream, recorded at one instant, whose positions and versions count up together.

What the events of a run have in common is stored once, with the run. Pure.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from services.eventstore.draft import PlacedAppend
from services.eventstore.event import APPEND_EVENTS_MAX, RecordedEvent, StreamName
from services.kernel.clock import epoch_us

RUN_EVENTS_MAX = APPEND_EVENTS_MAX
RUN_BYTES_MAX = 1024 * 1024
"""Payload bytes of a run, so that a page can be weighed by its runs; what a single append takes fits."""


@dataclass(frozen=True, slots=True)
class Run:
    """Positions with both ends included, the version of the first event, and the bytes of all payloads."""

    stream: StreamName
    first_position: int
    last_position: int
    first_version: int
    recorded_at_us: int
    payload_bytes: int

    @property
    def event_count(self) -> int:
        return self.last_position - self.first_position + 1

    @property
    def last_version(self) -> int:
        return self.last_position + self.version_offset

    @property
    def version_offset(self) -> int:
        """What is added to the position of one of its events to get the version."""
        return self.first_version - self.first_position


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a run: the positions that are wanted of it, both ends included."""

    run: Run
    first_position: int
    last_position: int

    @property
    def event_count(self) -> int:
        return self.last_position - self.first_position + 1


def runs_of_appends(placed: Sequence[PlacedAppend]) -> tuple[Run, ...]:
    """The runs of the appends of one commit, in log order; appends to one stream in a row make one."""
    return tuple(_joined(_run_of_append(append) for append in placed))


def runs_of_events(events: Sequence[RecordedEvent]) -> tuple[Run, ...]:
    """The runs of events that another log recorded, in log order."""
    return tuple(_joined(_run_of_event(event) for event in events))


def slices_of_page(runs: Sequence[Run], after: int, end: int, limit: int, bytes_max: int) -> tuple[Slice, ...]:
    """What of the runs belongs to a page: behind `after`, up to `end`, at most `limit` events.

    It ends with the run that reaches `bytes_max`. A first run that is cut counts nothing, as its weight is unknown.
    """
    slices: list[Slice] = []
    size = 0
    for run in runs:
        first, last = max(run.first_position, after + 1), min(run.last_position, end)
        last = min(last, first + limit - 1)
        if first <= last:
            slices.append(Slice(run, first, last))
            limit -= last - first + 1
            size += run.payload_bytes if first == run.first_position else 0
        if limit == 0 or size >= bytes_max:
            break
    return tuple(slices)


def slices_of_versions(runs: Sequence[Run], first_version: int, last_version: int) -> tuple[Slice, ...]:
    """What of the runs of one stream lies between two versions, both ends included."""
    slices = []
    for run in runs:
        first, last = max(run.first_version, first_version), min(run.last_version, last_version)
        if first <= last:
            slices.append(Slice(run, first - run.version_offset, last - run.version_offset))
    return tuple(slices)


def _joined(runs: Iterable[Run]) -> Iterator[Run]:
    current: Run | None = None
    for run in runs:
        if current is not None and _continues(current, run):
            size = current.payload_bytes + run.payload_bytes
            current = replace(current, last_position=run.last_position, payload_bytes=size)
            continue
        if current is not None:
            yield current
        current = run
    if current is not None:
        yield current


def _continues(current: Run, run: Run) -> bool:
    return (
        run.stream == current.stream
        and run.recorded_at_us == current.recorded_at_us
        and run.first_version == current.last_version + 1
        and run.first_position == current.last_position + 1
        and current.event_count + run.event_count <= RUN_EVENTS_MAX
        and current.payload_bytes + run.payload_bytes <= RUN_BYTES_MAX
    )


def _run_of_append(append: PlacedAppend) -> Run:
    last_position = append.first_position + len(append.leaves) - 1
    size = sum(len(event.payload) for event in append.request.events)
    at_us = epoch_us(append.recorded_at)
    return Run(append.request.stream, append.first_position, last_position, append.first_version, at_us, size)


def _run_of_event(event: RecordedEvent) -> Run:
    at_us = epoch_us(event.recorded_at)
    return Run(event.stream, event.position, event.position, event.version, at_us, len(event.payload))
