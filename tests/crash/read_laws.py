"""The laws of reads: what is read is in the log, and no read is older than what was acknowledged or seen before."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise

from services.eventstore.event import RecordedEvent
from tests.crash.history import Attempt, HeadRead, StreamRead
from tests.crash.law import Law, Violation, broken


def read_violations(
    attempts: Sequence[Attempt],
    head_reads: Sequence[HeadRead],
    stream_reads: Sequence[StreamRead],
    log: Sequence[RecordedEvent],
) -> list[Violation]:
    """Check the reads of the end of the log and of streams."""
    streams = _streams(log)
    return [
        *broken(Law.FRESH_READ, [*_stale_heads(attempts, head_reads), *_heads_going_back(head_reads)]),
        *broken(Law.FRESH_READ, [*_stale_streams(attempts, stream_reads)]),
        *broken(Law.TRUE_DELIVERY, _untrue_heads(head_reads, log)),
        *broken(Law.TRUE_DELIVERY, _untrue_streams(stream_reads, streams)),
    ]


def _streams(log: Sequence[RecordedEvent]) -> dict[str, list[str]]:
    streams: dict[str, list[str]] = {}
    for event in log:
        streams.setdefault(str(event.stream), []).append(event.id.hex)
    return streams


def _stale_heads(attempts: Sequence[Attempt], reads: Sequence[HeadRead]) -> list[str]:
    newest_by = _HighWater((each.ended_ns, each.answer.position) for each in attempts if each.answer)
    return [
        f"{read.client} was told that the log ends at {read.position}, {newest_by.at(read.invoked_ns)} stood already"
        for read in reads
        if read.position < newest_by.at(read.invoked_ns)
    ]


def _heads_going_back(reads: Sequence[HeadRead]) -> list[str]:
    by_client: dict[str, list[HeadRead]] = {}
    for read in reads:
        by_client.setdefault(read.client, []).append(read)
    return [
        f"{client} saw the log end at {earlier.position}, then at {later.position}"
        for client, made in by_client.items()
        for earlier, later in pairwise(sorted(made, key=lambda read: read.invoked_ns))
        if later.position < earlier.position
    ]


def _stale_streams(attempts: Sequence[Attempt], reads: Sequence[StreamRead]) -> list[str]:
    by_stream: dict[str, list[tuple[int | None, int]]] = {}
    for each in attempts:
        if each.answer:
            by_stream.setdefault(each.stream, []).append((each.ended_ns, each.answer.version + 1))
    waters = {stream: _HighWater(made) for stream, made in by_stream.items()}
    return [
        f"{read.client} read {len(read.ids)} events of {read.stream}, {waters[read.stream].at(read.invoked_ns)} stood"
        for read in reads
        if read.stream in waters and len(read.ids) < min(read.limit, waters[read.stream].at(read.invoked_ns))
    ]


def _untrue_heads(reads: Sequence[HeadRead], log: Sequence[RecordedEvent]) -> list[str]:
    end = log[-1].position if log else 0
    return [f"{read.client} saw the end at {read.position}, behind {end}" for read in reads if read.position > end]


def _untrue_streams(reads: Sequence[StreamRead], streams: dict[str, list[str]]) -> list[str]:
    return [
        f"{read.client} read events of {read.stream} that do not stand there so"
        for read in reads
        if list(read.ids) != streams.get(read.stream, [])[: len(read.ids)]
    ]


class _HighWater:
    """The highest value that was known at an instant."""

    def __init__(self, known: Iterable[tuple[int | None, int]]) -> None:
        self._instants: list[int] = []
        self._values: list[int] = []
        for instant, value in sorted((instant, value) for instant, value in known if instant is not None):
            self._instants.append(instant)
            self._values.append(max(value, self._values[-1] if self._values else 0))

    def at(self, instant: int) -> int:
        index = bisect_right(self._instants, instant)
        return self._values[index - 1] if index else 0
