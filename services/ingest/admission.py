"""Bounds what is under way: a request is let in before work is spent on it, and counts until it is answered."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.kernel.errors import Overloaded

USAGE_EVENTS_ADMITTED_MAX = 100_000
BYTES_ADMITTED_MAX = 64 * 1024 * 1024


class Admission:
    """How many usage events and bytes are under way in this process. Belongs to one event loop."""

    def __init__(self) -> None:
        self._usage_events = 0
        self._bytes = 0

    @contextmanager
    def held(self, usage_events: int, size_bytes: int) -> Iterator[None]:
        """Let a request in until the end of the block; raises Overloaded when too much is under way already."""
        is_full = (
            self._usage_events + usage_events > USAGE_EVENTS_ADMITTED_MAX
            or self._bytes + size_bytes > BYTES_ADMITTED_MAX
        )
        if is_full:
            raise Overloaded(
                f"{self._usage_events} usage events are waiting to be recorded; wait, then send the same again"
            )
        self._usage_events += usage_events
        self._bytes += size_bytes
        try:
            yield
        finally:
            self._usage_events -= usage_events
            self._bytes -= size_bytes
