"""Bounds what is under way: a request is let in before work is spent on it, and counts until it is answered."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from services.kernel.clock import monotonic_s
from services.kernel.errors import Overloaded

USAGE_EVENTS_ADMITTED_MAX = 100_000
BYTES_ADMITTED_MAX = 128 * 1024 * 1024
COLUMN_ROWS_A_ROW: Final = 4
"""So many usage events in columns take the memory of one in rows."""
JSON_MEMORY_FACTOR: Final = 4
"""JSON takes so many times its bytes once it is read."""
ROOM_WAIT_S: Final = 30.0
"""How long a stream is not read on because there is no room, until its next batch is refused."""

_RESERVE_DIVISOR: Final = 4
"""The last quarter is kept for clients that have little under way, so that a noisy one never takes all."""
_LITTLE_DIVISOR: Final = 8


class Admission:
    """How many usage events and bytes are under way in this process. Belongs to one event loop."""

    def __init__(self) -> None:
        self._usage_events: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._freed = asyncio.Event()

    @contextmanager
    def held(self, client: str, usage_events: int, size_bytes: int) -> Iterator[None]:
        """Let a client's request in until the end of the block; raises Overloaded when too much is under way."""
        if not self._has_room(client, usage_events, size_bytes):
            raise Overloaded(
                f"{self._usage_events.total()} usage events are waiting to be recorded; wait, then send the same again"
            )
        self._change(client, usage_events, size_bytes)
        try:
            yield
        finally:
            self._change(client, -usage_events, -size_bytes)
            self._freed.set()

    async def wait_for_room(self, client: str, usage_events: int, size_bytes: int) -> None:
        """Return when such a request would be let in, or after ROOM_WAIT_S."""
        deadline = monotonic_s() + ROOM_WAIT_S
        while not self._has_room(client, usage_events, size_bytes):
            self._freed.clear()
            try:
                await asyncio.wait_for(self._freed.wait(), deadline - monotonic_s())
            except TimeoutError:
                return

    def _has_room(self, client: str, usage_events: int, size_bytes: int) -> bool:
        return _is_room(self._usage_events, client, usage_events, USAGE_EVENTS_ADMITTED_MAX) and _is_room(
            self._bytes, client, size_bytes, BYTES_ADMITTED_MAX
        )

    def _change(self, client: str, usage_events: int, size_bytes: int) -> None:
        self._usage_events[client] += usage_events
        self._bytes[client] += size_bytes


def _is_room(held: Counter[str], client: str, more: int, most: int) -> bool:
    has_little = held[client] < most // _LITTLE_DIVISOR
    return held.total() + more <= (most if has_little else most - most // _RESERVE_DIVISOR)
