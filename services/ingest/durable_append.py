"""Appends one event and finds out what became of it, also when the store cannot say."""

import asyncio

from services.eventstore.event import Appended, NewEvent, StreamName, WrongExpectedVersion
from services.eventstore.store import APPEND_TIMEOUT_S, EventStore
from services.kernel.errors import TimedOut, Unavailable

ATTEMPTS_MAX = 3
PAUSE_S = 0.2


async def append_durably(store: EventStore, stream: StreamName, event: NewEvent, expected_version: int) -> Appended:
    """Append; when the outcome is unknown, look whether the event stands in the log, and only then try again.

    Raises WrongExpectedVersion when another event stands in its place, and Unavailable when the outcome stays unknown:
    the event may be in the log, or get there still.
    """
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            submitted = store.submit(stream, [event], expected_version)
            return await asyncio.wait_for(asyncio.wrap_future(submitted), APPEND_TIMEOUT_S)
        except (Unavailable, TimedOut, TimeoutError):
            standing = await _standing(store, stream, event, expected_version)
        if standing is not None:
            return standing
        await asyncio.sleep(PAUSE_S * attempt)
    raise Unavailable(
        f'the event store does not say whether version {expected_version + 1} of stream "{stream}" is written; '
        "send the same usage events again, what is recorded already is answered as duplicate"
    )


async def _standing(store: EventStore, stream: StreamName, event: NewEvent, expected_version: int) -> Appended | None:
    """Where the event stands; None when nothing stands there, or when that cannot be read either."""
    version = expected_version + 1
    try:
        found = await asyncio.to_thread(store.read_stream, stream, from_version=version, limit=1)
    except (Unavailable, TimedOut):
        return None
    if not found:
        return None
    if found[0].id != event.id:
        raise WrongExpectedVersion(stream, expected_version, found[0].version)
    return Appended(found[0].position, version, found[0].recorded_at, (found[0].leaf,))
