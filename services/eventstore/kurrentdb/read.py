"""The queries of a log on KurrentDB: one function each, from a session to values."""

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from uuid import UUID

from kurrentdbclient import RecordedEvent as ServedEvent
from kurrentdbclient.exceptions import DeadlineExceededError, InvalidCommitPositionError, NotFoundError

from services.eventstore.event import (
    BEGINNING,
    NO_STREAM,
    VERSION_MAX,
    Page,
    Position,
    RecordedEvent,
    StreamName,
)
from services.eventstore.kurrentdb.session import Session
from services.eventstore.kurrentdb.stored_event import recorded_event
from services.eventstore.reading import PAGE_BYTES_MAX
from services.kernel.errors import Corrupt


def newest(session: Session, timeout_s: float) -> ServedEvent | None:
    """The last event of the log, whoever wrote it; None when it is empty. The server's own events are none of it."""
    with session.read_all(None, (), 1, timeout_s, backwards=True) as found:
        return next(found, None)


def leaf_at(session: Session, position: Position, timeout_s: float) -> bytes:
    """The leaf of the event at a position that the log reaches; empty when none of ours begins there."""
    try:
        with session.read_all(position, (), 1, timeout_s) as found:
            served = next(found, None)
    except InvalidCommitPositionError:
        return b""
    return leaf_of(served) if served is not None and served.commit_position == position else b""


def leaf_of(served: ServedEvent) -> bytes:
    """The leaf that an event was stored with; empty for an event that Meterlog did not write."""
    try:
        return recorded_event(served).leaf
    except Corrupt:
        return b""


def page(
    session: Session, head: Position, after: Position, categories: Collection[str], limit: int, timeout_s: float
) -> Page:
    """Events behind `after`; `head` was the last position before this read began.

    A read that comes to its end has seen everything up to `head`. One that runs out of time ends the page where it is;
    raises the client's deadline error only when there was no event by then.
    """
    events: list[RecordedEvent] = []
    size = 0
    try:
        for event in _events_behind(session, after, categories, limit, timeout_s):
            if len(events) == limit or size >= PAGE_BYTES_MAX:
                return Page(tuple(events), events[-1].position, is_last=False)
            events.append(event)
            size += len(event.payload)
    except DeadlineExceededError:
        if not events:
            raise
        return Page(tuple(events), events[-1].position, is_last=False)
    end = events[-1].position if events else after
    return Page(tuple(events), max(head, end), is_last=True)


def newest_version(session: Session, stream: StreamName, timeout_s: float) -> int:
    """The version that a stream is at; NO_STREAM when it does not exist."""
    with session.read_stream(stream, None, 1, timeout_s, backwards=True) as found:
        return next((served.stream_position for served in _found(found)), NO_STREAM)


def stream_upwards(
    session: Session, stream: StreamName, from_version: int, limit: int, timeout_s: float
) -> tuple[RecordedEvent, ...]:
    """Up to `limit` events of a stream from a version upwards."""
    return tuple(event for _, event in standing(session, stream, from_version, limit, timeout_s))


def stream_downwards(
    session: Session, stream: StreamName, from_version: int, limit: int, timeout_s: float
) -> tuple[RecordedEvent, ...]:
    """Up to `limit` events of a stream from a version (-1: its newest) downwards."""
    start = None
    if from_version != -1:
        # From above the newest version the server would search its way down in steps of `limit`.
        start = min(from_version, newest_version(session, stream, timeout_s))
        if start == NO_STREAM:
            return ()
    with session.read_stream(stream, start, limit, timeout_s, backwards=True) as found:
        return tuple(recorded_event(served) for served in _found(found))


def standing(
    session: Session, stream: StreamName, from_version: int, limit: int, timeout_s: float
) -> list[tuple[UUID, RecordedEvent]]:
    """Events of a stream from a version upwards, each with the id that the server knows its write by."""
    if from_version > VERSION_MAX:
        return []
    with session.read_stream(stream, from_version, limit, timeout_s) as found:
        return [(served.id, recorded_event(served)) for served in _found(found)]


def _events_behind(
    session: Session, after: Position, categories: Collection[str], limit: int, timeout_s: float
) -> Iterator[RecordedEvent]:
    """Behind `after`: the server begins with the event at the position itself. At most one more than `limit`."""
    start = None if after == BEGINNING else after
    with session.read_all(start, categories, limit + 2, timeout_s) as found:
        events = (recorded_event(served) for served in found)
        behind = (event for event in events if event.position > after)
        yield from islice((event for event in behind if is_wanted(event, categories)), limit + 1)


def is_wanted(event: RecordedEvent, categories: Collection[str]) -> bool:
    """Whether an event that passed the server's filter is of a category asked for, by our own comparison."""
    return not categories or event.stream.category in categories


def _found(events: Iterable[ServedEvent]) -> Iterator[ServedEvent]:
    """The events of a stream; none when it does not exist."""
    try:
        yield from events
    except NotFoundError:
        return
