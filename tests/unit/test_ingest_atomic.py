"""An atomic batch is recorded in one commit, or not at all; what is recorded already is no obstacle."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meterlog.ingest.v1.ingest_pb2 import RecordUsageRequest, UsageEvent
from services.eventstore.event import StreamName, WrongExpectedVersion
from services.kernel.errors import InvalidInput
from tests.ingest_room import Replica, Room, Trouble, TroubledStore, open_room, usage, words
from tests.sent_arrow import columns, counts, send


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with open_room(tmp_path) as opened:
        yield opened


@pytest.fixture
def replica(room: Room) -> Iterator[Replica]:
    with room.replica() as opened:
        yield opened


def atomically(room: Room, replica: Replica, *events: UsageEvent) -> Any:
    request = RecordUsageRequest(events=events, atomic=True)
    return room.runner.run(replica.face.RecordUsage(request, None))  # type: ignore[arg-type]  # no context needed


def test_a_sound_batch_is_recorded_whole_in_one_commit(room: Room, replica: Replica) -> None:
    response = atomically(room, replica, usage("e-1"), usage("e-2"), usage("e-1"))

    assert words(response.results) == ["recorded", "recorded", "duplicate"]
    assert (len(room.log()), len(response.receipts)) == (1, 1)


def test_one_malformed_usage_event_stops_all(room: Room, replica: Replica) -> None:
    room.send(replica, usage("old"))

    response = atomically(room, replica, usage("e-1"), usage("e-2", "NaN"), usage("old"), usage("old", "2"))

    assert words(response.results) == ["not_recorded", "invalid", "duplicate", "conflict"]
    held = room.log()[0].position
    assert [result.position for result in response.results] == [0, 0, held, held]
    assert room.recorded_ids() == ["old"]


def test_one_conflict_stops_all(room: Room, replica: Replica) -> None:
    room.send(replica, usage("old"))

    response = atomically(room, replica, usage("e-1"), usage("old", "2"), usage("e-1"), usage("old"))

    assert words(response.results) == ["not_recorded", "conflict", "not_recorded", "duplicate"]
    assert [result.position > 0 for result in response.results] == [False, True, False, True]
    assert list(response.receipts) == []
    assert room.recorded_ids() == ["old"]


def test_a_conflict_within_the_batch_stops_all(room: Room, replica: Replica) -> None:
    response = atomically(room, replica, usage("e-1"), usage("e-1", "2"), usage("e-2"))

    assert words(response.results) == ["not_recorded", "conflict", "not_recorded"]
    assert room.log() == ()
    assert room.outcomes(replica, usage("e-1", "2")) == ["recorded"], "nothing of it stays in the index"


def test_what_is_recorded_already_is_no_obstacle(room: Room, replica: Replica) -> None:
    atomically(room, replica, usage("e-1"), usage("e-2"))

    assert words(atomically(room, replica, usage("e-1"), usage("e-2"), usage("e-3")).results) == [
        "duplicate", "duplicate", "recorded",
    ]  # fmt: skip
    assert words(atomically(room, replica, usage("e-1"), usage("e-3")).results) == ["duplicate", "duplicate"]


def test_usage_of_several_sources_is_refused(room: Room) -> None:
    other = usage("e-2")
    other.source = "other"
    with room.replica(partitions=4) as replica, pytest.raises(InvalidInput) as refused:
        atomically(room, replica, usage("e-1"), other)
    assert (refused.value.reason, refused.value.field) == ("ATOMIC_SOURCES", "atomic")
    assert room.recorded(4) == []


def test_a_batch_that_does_not_fit_into_one_commit_is_refused(room: Room, replica: Replica) -> None:
    chance = random.Random(3)
    events = [usage(f"e-{row}", note=chance.randbytes(500).hex()) for row in range(2_000)]

    with pytest.raises(InvalidInput) as refused:
        atomically(room, replica, *events)

    assert (refused.value.reason, room.log()) == ("ATOMIC_TOO_LARGE", ())
    assert set(room.outcomes(replica, *events)) == {"recorded"}, "without atomic it is divided"


def test_another_replica_that_wrote_first_may_turn_it_into_a_conflict(room: Room) -> None:
    lost = WrongExpectedVersion(StreamName("usage", "0"), -1, 0)
    store = TroubledStore(room.store)
    with room.replica("a", store=store) as a, room.replica("b") as b:
        room.send(b, usage("e-2", "7"))
        store.troubles.append(Trouble(is_written=False, error=lost))
        response = atomically(room, a, usage("e-1"), usage("e-2"))

    assert words(response.results) == ["not_recorded", "conflict"]
    assert room.recorded_ids() == ["e-2"]


def test_its_neighbours_are_recorded_whatever_becomes_of_it(room: Room, replica: Replica) -> None:
    async def at_once() -> list[list[str]]:
        stopped = RecordUsageRequest(events=[usage("e-1"), usage("e-1", "2")], atomic=True)
        calls = [
            replica.send(usage("before")),
            replica.face.RecordUsage(stopped, None),  # type: ignore[arg-type]  # no context needed
            replica.send(usage("after")),
        ]
        return [words(response.results) for response in await asyncio.gather(*calls)]

    assert room.runner.run(at_once()) == [["recorded"], ["not_recorded", "conflict"], ["recorded"]]
    assert room.recorded_ids() == ["before", "after"]


def test_columns_are_atomic_too(room: Room, replica: Replica) -> None:
    said = columns("e-1", "e-2", "e-3", value=["1", "x", "1"])

    stopped = send(room, replica, said, atomic=True)
    assert counts(stopped) == (0, 0, 0, 1, 2)
    assert [found.row for found in stopped.exceptions] == [1, 0, 2]

    assert counts(send(room, replica, columns("e-1", "e-2", "e-3"), atomic=True)) == (3, 0, 0, 0, 0)
