"""Bounds what is under way: a request is let in before work is spent on it, and counts until it is answered."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from services.kernel.errors import Overloaded

USAGE_EVENTS_ADMITTED_MAX = 100_000
BYTES_ADMITTED_MAX = 128 * 1024 * 1024
COLUMN_ROWS_A_ROW: Final = 4
"""So many usage events in columns take the memory of one in rows."""
JSON_MEMORY_FACTOR: Final = 4
"""JSON takes so many times its bytes once it is read."""
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of batches of streams that were read and wait their turn; on top of them none waits."""

_RESERVE_DIVISOR: Final = 4
"""The last quarter is kept for clients that have little under way, so that a noisy one never takes all."""
_LITTLE_DIVISOR: Final = 8


class Admission:
    """How many usage events and bytes are under way in this process. Belongs to one event loop."""

    def __init__(self) -> None:
        self._usage_events = _Held()
        self._bytes = _Held()
        self._waiting_bytes = 0
        self._freed = asyncio.Event()

    def enter(self, client: str, usage_events: int, size_bytes: int) -> Callable[[], None]:
        """Let a client's request in until what is returned is called; raises Overloaded when too much is under way."""
        if not self.has_room(client, usage_events, size_bytes):
            raise Overloaded(
                f"{self._usage_events.total} usage events are waiting to be recorded; wait, then send the same again"
            )
        self._change(client, usage_events, size_bytes)
        return partial(self._leave, client, usage_events, size_bytes)

    @contextmanager
    def waiting(self, size_bytes: int) -> Iterator[bool]:
        """Whether a batch may wait its turn until the end of the block: not when others fill WAITING_BYTES_MAX."""
        may_wait = self._waiting_bytes + size_bytes <= WAITING_BYTES_MAX
        counted = size_bytes if may_wait else 0
        self._waiting_bytes += counted
        try:
            yield may_wait
        finally:
            self._waiting_bytes -= counted

    async def wait_for_room(self, client: str, usage_events: int, size_bytes: int) -> None:
        """Return when such a request would be let in; the caller sets a timeout."""
        while not self.has_room(client, usage_events, size_bytes):
            self._freed.clear()
            await self._freed.wait()

    def has_room(self, client: str, usage_events: int, size_bytes: int) -> bool:
        """Whether such a request would be let in now."""
        return self._usage_events.has_room(client, usage_events, USAGE_EVENTS_ADMITTED_MAX) and self._bytes.has_room(
            client, size_bytes, BYTES_ADMITTED_MAX
        )

    def _leave(self, client: str, usage_events: int, size_bytes: int) -> None:
        self._change(client, -usage_events, -size_bytes)
        self._freed.set()

    def _change(self, client: str, usage_events: int, size_bytes: int) -> None:
        self._usage_events.change(client, usage_events)
        self._bytes.change(client, size_bytes)


class _Held:
    """How much of one kind is under way, in all and by client. The sum is kept: there may be many clients."""

    def __init__(self) -> None:
        self.total = 0
        self._by_client: Counter[str] = Counter()

    def change(self, client: str, more: int) -> None:
        self.total += more
        self._by_client[client] += more

    def has_room(self, client: str, more: int, most: int) -> bool:
        has_little = self._by_client[client] < most // _LITTLE_DIVISOR
        return self.total + more <= (most if has_little else most - most // _RESERVE_DIVISOR)
