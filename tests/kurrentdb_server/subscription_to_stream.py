"""A subscription to one stream: catch up, then follow, without gap and without repeat."""

from collections.abc import Callable, Iterator

from tests.kurrentdb_server import progress
from tests.kurrentdb_server.event_log import EventLog
from tests.kurrentdb_server.expectation import Stream
from tests.kurrentdb_server.options import Options
from tests.kurrentdb_server.reading import PAGE_MAX, Response
from tests.kurrentdb_server.refusal import stream_deleted


class SubscriptionToStream:
    """Follows StreamSubscription of the server; a stream that does not exist yet is waited for."""

    def __init__(
        self,
        log: EventLog,
        name: str,
        options: Options,
        is_wanted: Callable[[], bool],
        require_leader: Callable[[], None],
    ) -> None:
        self._log = log
        self._name = name
        self._options = options
        self._is_wanted = is_wanted
        self._require_leader = require_leader
        self._checkpoint = progress.HEAD

    def responses(self, revision: int | None) -> Iterator[Response]:
        """Everything behind `revision`, until nobody wants it; HEAD is the start, None the end."""
        stream = self._readable()
        yield progress.confirmation()
        self._checkpoint = stream.last if revision is None else revision
        if self._checkpoint < stream.last:
            yield from self._catch_up()
        while self._is_wanted():
            says_where = self._options.caught_up_says_position
            yield progress.caught_up(revision=self._checkpoint, says_where=says_where)
            yield from self._follow()
            if self._is_wanted():
                yield from self._catch_up()

    def _catch_up(self) -> Iterator[Response]:
        while self._is_wanted():
            self._require_leader()
            stream = self._readable()
            start = max(self._checkpoint + 1, stream.truncate_before)
            if not stream.is_readable or start > stream.last:
                return
            yield from self._tell(stream, start, min(start + PAGE_MAX, stream.count))

    def _follow(self) -> Iterator[Response]:
        """Until nobody wants it, or more came at once than the server keeps for a reader."""
        index = self._log.length
        while self._is_wanted():
            stream = self._readable()
            if stream.last - self._checkpoint > self._options.live_buffer_events:
                if self._options.says_fell_behind:
                    yield progress.fell_behind(revision=self._checkpoint)
                return
            yield from self._tell(stream, self._checkpoint + 1, stream.count)
            self._log.wait_for_news(index, self._is_wanted)
            index = self._log.length

    def _tell(self, stream: Stream, start: int, end: int) -> Iterator[Response]:
        for number in range(start, end):
            self._checkpoint = number
            yield stream.records[number].response

    def _readable(self) -> Stream:
        stream = self._log.stream(self._name)
        if stream.is_tombstoned:
            raise stream_deleted(self._name)
        return stream
