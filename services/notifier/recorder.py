"""Records attempts in the log, once each, and tries again while the log cannot be written."""

import asyncio

import structlog

from services.eventstore.event import Appended, NewEvent, Position, StreamName, WrongExpectedVersion
from services.eventstore.store import APPEND_TIMEOUT_S, EventStore
from services.kernel.errors import Overloaded, TimedOut, Unavailable

TRIES_MAX = 60
PAUSE_S = 1.0

log = structlog.get_logger()


class Recorder:
    """Appends on the event loop without blocking it.

    `problem` is not empty while an append is being repeated: nothing new may be sent meanwhile, for what is sent and
    not recorded is sent again after a restart.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._failing: dict[StreamName, str] = {}

    @property
    def problem(self) -> str:
        """Why attempts cannot be recorded; empty while they can."""
        return next(iter(self._failing.values()), "")

    async def record(self, stream: StreamName, event: NewEvent, expected_version: int) -> Position:
        """Where the stream stands with the event, or with that of another worker who recorded this attempt first.

        Repeats the very same append, which the log recognises, TRIES_MAX times; then raises Unavailable.
        """
        try:
            for _ in range(TRIES_MAX):
                try:
                    return (await self._append(stream, event, expected_version)).position
                except WrongExpectedVersion:
                    log.warning("webhook attempt was recorded by another worker", stream=str(stream))
                    return self._store.head().position
                except (Unavailable, Overloaded, TimedOut) as error:
                    self._failing[stream] = f"attempts cannot be recorded: {error.message}"
                    await asyncio.sleep(PAUSE_S)
            raise Unavailable(f"{stream} could not be recorded in {TRIES_MAX} tries; see to the event store")
        finally:
            self._failing.pop(stream, None)

    async def _append(self, stream: StreamName, event: NewEvent, expected_version: int) -> Appended:
        future = self._store.submit(stream, [event], expected_version)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), APPEND_TIMEOUT_S)
        except TimeoutError as error:
            raise TimedOut(f"the append was not durable after {APPEND_TIMEOUT_S:g} s") from error
