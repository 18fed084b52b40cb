"""Checks that the versions of each stream go on without gaps, in bounded memory, from wherever a check begins."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from services.eventstore.audit.comparison import Broken
from services.eventstore.event import RecordedEvent, StreamName

STREAMS_REMEMBERED_MAX: Final = 100_000

EventBefore = Callable[[StreamName, int], RecordedEvent | None]
"""The event of a stream that has a version, from the log; None when there is none."""


class VersionOrder:
    """The streams seen last with their newest versions; a stream that was forgotten is looked up in the log."""

    def __init__(self, event_before: EventBefore) -> None:
        self._event_before = event_before
        self._newest: OrderedDict[StreamName, int] = OrderedDict()

    def require_next(self, event: RecordedEvent) -> None:
        """The event that follows in the log; raises Broken when a version of its stream is missing before it."""
        newest = self._newest.pop(event.stream, None)
        if newest is None:
            newest = self._looked_up(event)
        if event.version != newest + 1:
            raise Broken(
                event.position, f"stream {event.stream} goes on with version {event.version}, not {newest + 1}"
            )
        self._newest[event.stream] = event.version
        if len(self._newest) > STREAMS_REMEMBERED_MAX:
            self._newest.popitem(last=False)

    def _looked_up(self, event: RecordedEvent) -> int:
        """The version that stands before the event, if it stands earlier in the log; else -1."""
        if event.version == 0:
            return -1
        before = self._event_before(event.stream, event.version - 1)
        return before.version if before is not None and before.position < event.position else -1
