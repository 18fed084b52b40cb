"""Whatever is sent, in any order, through any doors and replicas: each usage event is recorded once, as first sent."""

import asyncio
import json
import random
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from meterlog.ingest.v1.ingest_pb2 import (
    RecordCloudEventsRequest,
    RecordUsageColumnsRequest,
    RecordUsageRequest,
    RecordUsageStreamRequest,
    UsageEvent,
)
from services.eventstore.event import Appended, NewEvent, StreamName
from services.eventstore.memory import MemoryEventStore
from services.ingest import durable_append
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Unavailable
from services.kernel.timestamp import from_timestamp
from tests.ingest_room import NOON, Replica, Room, open_room, usage, words
from tests.sent_arrow import batch, columns, stream

REPLICAS = ("a", "b")
IDS = st.sampled_from([f"id-{number}" for number in range(6)])
VALUES = st.sampled_from(["1", "2"])


@dataclass(frozen=True)
class Request:
    """What one producer sends: to which replica, after how many turns of the event loop, and what."""

    replica: int
    pause: int
    door: str
    events: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Restart:
    """A replica ends without notice and starts again, with its index or without."""

    replica: int
    loses_index: bool


async def by_rows(replica: Replica, events: list[UsageEvent]) -> list[str]:
    return words((await replica.send(*events)).results)


async def atomically(replica: Replica, events: list[UsageEvent]) -> list[str]:
    request = RecordUsageRequest(events=events, atomic=True)
    return words((await replica.face.RecordUsage(request, NO_CONTEXT)).results)


async def by_columns(replica: Replica, events: list[UsageEvent]) -> list[str]:
    said = columns(*[event.id for event in events], value=[event.value for event in events])
    request = RecordUsageColumnsRequest(arrow_ipc=stream(batch(said)))
    response = await replica.face.RecordUsageColumns(request, NO_CONTEXT)
    exceptions = {found.row: words([found.result])[0] for found in response.exceptions}
    return [exceptions.get(row, "recorded") for row in range(len(events))]


async def by_cloud_events(replica: Replica, events: list[UsageEvent]) -> list[str]:
    members = [
        {
            "specversion": "1.0",
            "id": event.id,
            "source": event.source,
            "type": event.type,
            "subject": event.subject,
            "time": from_timestamp(event.time).isoformat(),
            "data": {"value": int(event.value)},
        }
        for event in events
    ]
    request = RecordCloudEventsRequest(json=json.dumps(members).encode())
    return words((await replica.face.RecordCloudEvents(request, NO_CONTEXT)).results)


async def by_stream(replica: Replica, events: list[UsageEvent]) -> list[str]:
    async def requests() -> AsyncIterator[RecordUsageStreamRequest]:
        for event in events:
            yield RecordUsageStreamRequest(events=[event])

    answers = [answer async for answer in replica.face.RecordUsageStream(requests(), NO_CONTEXT)]
    if any(answer.HasField("refusal") for answer in answers):
        assert {answer.refusal.code for answer in answers} <= {0, 14}
        raise Unavailable("one of the batches was refused")
    return [word for answer in answers for word in words(answer.results)]


NO_CONTEXT: Any = None
DOORS: dict[str, Callable[[Replica, list[UsageEvent]], Awaitable[list[str]]]] = {
    "rows": by_rows,
    "atomic": atomically,
    "columns": by_columns,
    "cloud events": by_cloud_events,
    "stream": by_stream,
}


REQUESTS = st.builds(
    Request,
    st.integers(0, len(REPLICAS) - 1),
    st.integers(0, 6),
    st.sampled_from(sorted(DOORS)),
    st.lists(st.tuples(IDS, VALUES), min_size=1, max_size=5),
)
RESTARTS = st.builds(Restart, st.integers(0, len(REPLICAS) - 1), st.booleans())
ROUNDS = st.lists(st.one_of(st.lists(REQUESTS, min_size=1, max_size=6), RESTARTS), min_size=1, max_size=6)


class SlowStore(MemoryEventStore):
    """Answers an append a few turns of the event loop later, and now and then does not know what became of it."""

    def __init__(self, clock: SimulatedClock, seed: int) -> None:
        super().__init__(clock)
        self._chance = random.Random(seed)

    def submit(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> "Future[Appended]":
        answered: Future[Appended] = Future()
        loop = asyncio.get_running_loop()
        kind = self._chance.random()
        if kind < 0.1:
            answered.set_exception(Unavailable("not written, but who knows"))
        elif kind < 0.2:
            super().submit(stream, events, expected_version)
            answered.set_exception(Unavailable("written, but who knows"))
        else:
            self._later(loop, self._chance.randrange(4), stream, events, expected_version, answered)
        return answered

    def _later(
        self,
        loop: asyncio.AbstractEventLoop,
        turns: int,
        stream: StreamName,
        events: Sequence[NewEvent],
        expected_version: int,
        answered: "Future[Appended]",
    ) -> None:
        if turns:
            loop.call_soon(self._later, loop, turns - 1, stream, events, expected_version, answered)
            return
        done = super().submit(stream, events, expected_version)
        error = done.exception()
        if error is None:
            answered.set_result(done.result())
        else:
            answered.set_exception(error)


class Platform:
    """Two replicas on one store."""

    def __init__(self, room: Room, running: ExitStack) -> None:
        self._room = room
        self._running = running
        self.replicas = [self._start(name) for name in REPLICAS]

    def _start(self, name: str) -> Replica:
        return self._running.enter_context(self._room.replica(name))

    def restart(self, restart: Restart) -> None:
        name = REPLICAS[restart.replica]
        self.replicas[restart.replica].stop()
        if restart.loses_index:
            (self._room.folder / name / "live").unlink()
        self.replicas[restart.replica] = self._start(name)

    def send(self, requests: Sequence[Request]) -> list[list[str] | BaseException]:
        async def all_at_once() -> list[list[str] | BaseException]:
            return await asyncio.gather(*map(self._send, requests), return_exceptions=True)

        return self._room.runner.run(all_at_once())

    async def _send(self, request: Request) -> list[str]:
        for _ in range(request.pause):
            await asyncio.sleep(0)
        return await DOORS[request.door](self.replicas[request.replica], [usage(*event) for event in request.events])


@contextmanager
def platform(seed: int) -> Iterator[tuple[Room, Platform]]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        running.enter_context(mock.patch.object(durable_append, "PAUSE_S", 0))
        store = SlowStore(SimulatedClock(NOON), seed)
        room = running.enter_context(open_room(Path(folder), store))
        yield room, Platform(room, running)


@settings(max_examples=100, deadline=None)
@given(ROUNDS, st.integers(0, 2**32))
def test_each_usage_event_is_recorded_once_and_its_first_content_stays(
    rounds: list[list[Request] | Restart], seed: int
) -> None:
    with platform(seed) as (room, running):
        answers: list[tuple[Request, list[str]]] = []
        sent: set[str] = set()
        for step in rounds:
            if isinstance(step, Restart):
                running.restart(step)
                continue
            for request, answer in zip(step, running.send(step), strict=True):
                sent.update(name for name, _ in request.events)
                if isinstance(answer, list):
                    answers.append((request, answer))
                else:
                    assert isinstance(answer, Unavailable), answer
        require_exactly_once(room, answers, sent)


def require_exactly_once(room: Room, answers: list[tuple[Request, list[str]]], sent: set[str]) -> None:
    ids = room.recorded_ids()
    held = {name: value for _, name, value in room.recorded()}
    assert len(ids) == len(set(ids)), "nothing is recorded twice"
    assert set(ids) <= sent, "nothing is made up"
    recorded_answers: list[str] = []
    for request, answer in answers:
        seen_before: set[str] = set()
        require_all_or_none(request, answer)
        for (name, value), word in zip(request.events, answer, strict=True):
            if word == "not_recorded" or (request.door == "atomic" and word == "conflict"):
                continue
            assert word != "recorded" or name not in seen_before, "of one request the first counts"
            seen_before.add(name)
            assert name in held, "what is answered stands in the log"
            assert word in (["conflict"] if held[name] != value else ["recorded", "duplicate"])
            recorded_answers += [name] if word == "recorded" else []
    assert len(recorded_answers) == len(set(recorded_answers)), "one producer at most is told that it was recorded"


def require_all_or_none(request: Request, answer: list[str]) -> None:
    """Of an atomic batch nothing new is recorded when anything stops it, and something has to."""
    if "not_recorded" in answer or (request.door == "atomic" and "conflict" in answer):
        assert request.door == "atomic"
        assert "conflict" in answer
        assert "recorded" not in answer
