"""The appends of a store: those of one stream in order, those of several streams side by side."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from services.eventstore.draft import AppendRequest
from services.eventstore.event import ANY_VERSION, StreamName, WrongExpectedVersion
from services.eventstore.group_commit import Answer
from services.eventstore.kurrentdb import read
from services.eventstore.kurrentdb.connection import KurrentConnection
from services.eventstore.kurrentdb.exact_append import ExactAppend, Outcome, write
from services.kernel.clock import Clock, monotonic_s
from services.kernel.errors import DomainError, Overloaded, Unavailable


class KurrentWriter:
    """Writes groups of appends; each is a write of its own for the server, so each is answered for itself."""

    def __init__(self, connection: KurrentConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._limits = connection.limits
        self._threads = ThreadPoolExecutor(self._limits.appenders, thread_name_prefix="kurrentdb-appender")

    def commit(self, requests: Sequence[AppendRequest]) -> Sequence[Answer]:
        """Write each append or say why not, in the order of the requests; never raises for one of them alone."""
        give_up_at_s = monotonic_s() + self._limits.append_total_s
        recorded_at = self._clock.now()

        def written(lane: Sequence[AppendRequest]) -> list[Answer]:
            return [self._answer(request, recorded_at, give_up_at_s) for request in lane]

        lanes = _lanes(requests)
        if len(lanes) == 1:
            return written(requests)
        answers: dict[int, Answer] = {}
        for places, lane in zip(
            lanes, self._threads.map(written, [[requests[place] for place in places] for places in lanes]), strict=True
        ):
            answers.update(zip(places, lane, strict=True))
        return [answers[place] for place in range(len(requests))]

    def close(self) -> None:
        """End the threads; nothing may be under way."""
        self._threads.shutdown()

    def _answer(self, request: AppendRequest, recorded_at: datetime, give_up_at_s: float) -> Answer:
        if monotonic_s() >= give_up_at_s:
            return Unavailable("KurrentDB was too slow for the appends before this one; it was not sent: repeat it")
        try:
            if request.expected_version == ANY_VERSION:
                return self._written_anywhere(request, recorded_at, give_up_at_s)
            append = ExactAppend.of(request.stream, request.expected_version, request.events, recorded_at)
            return write(self._connection, append, give_up_at_s)
        except DomainError as error:
            return error

    def _written_anywhere(self, request: AppendRequest, recorded_at: datetime, give_up_at_s: float) -> Outcome:
        """Behind whatever is newest: the server's own "any version" forgets what it wrote and so may write twice."""
        version = self._newest_version(request.stream, give_up_at_s)
        for _ in range(self._limits.any_version_attempts_max):
            append = ExactAppend.of(request.stream, version, request.events, recorded_at)
            outcome = write(self._connection, append, give_up_at_s, repeats_count=False)
            if not isinstance(outcome, WrongExpectedVersion):
                return outcome
            version = outcome.actual
        raise Overloaded(f'too many others append to stream "{request.stream}"; wait, then repeat')

    def _newest_version(self, stream: StreamName, give_up_at_s: float) -> int:
        timeout_s = self._connection.call_timeout_s
        return self._connection.answered(lambda session: read.newest_version(session, stream, timeout_s), give_up_at_s)


def _lanes(requests: Sequence[AppendRequest]) -> list[list[int]]:
    """The places of the requests, one list a stream."""
    lanes: dict[StreamName, list[int]] = {}
    for place, request in enumerate(requests):
        lanes.setdefault(request.stream, []).append(place)
    return list(lanes.values())
