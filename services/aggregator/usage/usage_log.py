"""Usage batches read back from the log, by their places in the index."""

from collections.abc import Iterator, Sequence

from services.aggregator.usage.batch_rows import BatchPlace
from services.eventstore.event import RecordedEvent
from services.eventstore.store import EventStore
from services.kernel.errors import Corrupt

READ_EVENTS = 64


def read_batches(store: EventStore, places: Sequence[BatchPlace]) -> Iterator[tuple[RecordedEvent, ...]]:
    """The events at `places`, stream by stream, up to READ_EVENTS neighbours at once."""
    for run in _runs(sorted(places, key=lambda place: (str(place.stream), place.version))):
        events = store.read_stream(run[0].stream, from_version=run[0].version, limit=len(run))
        if [event.position for event in events] != [place.position for place in run]:
            raise Corrupt(
                f'stream "{run[0].stream}" is not what was folded from version {run[0].version} on; '
                "rebuild the projection, and verify the audit chain"
            )
        yield events


def _runs(places: Sequence[BatchPlace]) -> Iterator[Sequence[BatchPlace]]:
    run: list[BatchPlace] = []
    for place in places:
        if run and not _continues(run, place):
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def _continues(run: Sequence[BatchPlace], place: BatchPlace) -> bool:
    last = run[-1]
    return len(run) < READ_EVENTS and last.stream == place.stream and last.version + 1 == place.version
