"""Take over the events of another log: in its order, leaf for leaf, and only behind what stands there of it already.

The server keeps no commits, and a commit over several streams cannot be written whole: it is written as runs of one
stream each. What an interruption leaves is a beginning of the origin's events, which a repeat passes over.
"""

from collections.abc import Iterator, Sequence

from services.eventstore.audit.chain import Commit
from services.eventstore.event import NO_STREAM, PAYLOAD_BYTES_MAX, Appended, NewEvent, RecordedEvent, StreamName
from services.eventstore.kurrentdb.connection import KurrentConnection
from services.eventstore.kurrentdb.exact_append import ExactAppend, write
from services.eventstore.kurrentdb.read_only import ReadOnlyKurrentEventStore
from services.eventstore.kurrentdb.stored_event import HEADER_BYTES
from services.eventstore.restoration import LOG_DIFFERS, WholeCommit, differs, next_versions, whole_commits
from services.kernel.clock import monotonic_s
from services.kernel.errors import Conflict, Corrupt

_ORIGIN = 1
"""The first position of a log that has commits: nothing may stand before what comes from there."""


def restore(
    connection: KurrentConnection,
    log: ReadOnlyKurrentEventStore,
    events: Sequence[RecordedEvent],
    commits: Sequence[Commit],
) -> None:
    """What `RestorableStore.restore` promises, except that a commit over several streams appears run by run.

    What was written is read again at the end, so that an order other than the origin's is found.
    """
    wholes = whole_commits(events, commits)
    if not wholes:
        return
    standing = _count_standing(log, wholes[0], events)
    if standing == len(events):
        return
    left = _left(wholes, standing)
    try:
        next_versions(left, lambda stream: _current_version(log, stream))
    except Corrupt as error:
        if _count_standing(log, wholes[0], events) == standing:
            raise
        raise Conflict(
            "another import writes to this log at the same time; let one of them finish, then repeat",
            reason=LOG_DIFFERS,
        ) from error
    for run in _runs(left):
        _write(connection, run)
    missing_from = _count_standing(log, wholes[0], events)
    if missing_from < len(events):
        raise differs(events[missing_from].position)


def _count_standing(log: ReadOnlyKurrentEventStore, first: WholeCommit, events: Sequence[RecordedEvent]) -> int:
    """How many of the events the log holds already; raises Conflict where it holds something else instead."""
    count = 0
    for event, standing in zip(events, _standing(log, first), strict=False):
        if event.leaf != standing.leaf:
            raise differs(event.position)
        count += 1
    return count


def _standing(log: ReadOnlyKurrentEventStore, first: WholeCommit) -> Iterator[RecordedEvent]:
    """The log from where the first event stands; nothing when it belongs behind the head."""
    event = first.events[0]
    found = log.read_stream(event.stream, from_version=event.version, limit=1)
    if not found and first.commit.first_position == _ORIGIN and log.head().position:
        raise differs(_ORIGIN)
    yield from found
    while found:
        found = log.read_all(after=found[-1].position).events
        yield from found


def _left(wholes: Sequence[WholeCommit], standing: int) -> list[WholeCommit]:
    """The commits without their events that stand already."""
    left: list[WholeCommit] = []
    for whole in wholes:
        events = whole.events[standing:]
        standing = max(0, standing - len(whole.events))
        if events:
            left.append(WholeCommit(whole.commit, events))
    return left


def _current_version(log: ReadOnlyKurrentEventStore, stream: StreamName) -> int:
    newest = log.read_stream(stream, from_version=-1, limit=1, backwards=True)
    return newest[0].version if newest else NO_STREAM


def _runs(wholes: Sequence[WholeCommit]) -> Iterator[list[RecordedEvent]]:
    """Neighbours of one stream and one instant, not more than a server takes at once."""
    run: list[RecordedEvent] = []
    size = 0
    for event in (event for whole in wholes for event in whole.events):
        event_size = len(event.payload) + HEADER_BYTES
        if run and (size + event_size > PAYLOAD_BYTES_MAX or not _continues(run[-1], event)):
            yield run
            run, size = [], 0
        run.append(event)
        size += event_size
    if run:
        yield run


def _continues(before: RecordedEvent, event: RecordedEvent) -> bool:
    return (before.stream, before.recorded_at, before.version + 1) == (event.stream, event.recorded_at, event.version)


def _write(connection: KurrentConnection, run: Sequence[RecordedEvent]) -> None:
    first = run[0]
    events = [NewEvent(event.id, event.type, event.schema_version, event.payload) for event in run]
    append = ExactAppend.of(first.stream, first.version - 1, events, first.recorded_at)
    written = write(connection, append, monotonic_s() + connection.limits.append_total_s)
    if not isinstance(written, Appended) or written.leaves != append.leaves:
        raise differs(first.position)
