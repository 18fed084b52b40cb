"""Whether a subscription left out an event: the versions of a stream have no gaps."""

from collections import OrderedDict
from typing import Final

from services.eventstore.event import RecordedEvent, StreamName

STREAMS_MAX: Final = 10_000


class StreamVersions:
    """The newest version seen of each of the streams that were seen last. Not thread-safe."""

    def __init__(self) -> None:
        self._versions: OrderedDict[StreamName, int] = OrderedDict()

    def follows(self, event: RecordedEvent) -> bool:
        """Whether nothing is missing before this event, as far as its stream is remembered; then it is noted."""
        known = self._versions.get(event.stream)
        if known is not None and event.version > known + 1:
            return False
        self._versions[event.stream] = event.version
        self._versions.move_to_end(event.stream)
        if len(self._versions) > STREAMS_MAX:
            self._versions.popitem(last=False)
        return True
