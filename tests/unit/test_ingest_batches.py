"""How usage becomes events of the log: divided, gathered, kept apart by partition."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from meterlog.ingest.v1.ingest_pb2 import UsageEvent
from services.eventstore.event import PAYLOAD_BYTES_MAX
from services.ingest.partition import partition_of
from tests.ingest_room import Replica, Room, open_room, properties_of, usage, words


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with open_room(tmp_path) as opened:
        yield opened


@pytest.fixture
def replica(room: Room) -> Iterator[Replica]:
    with room.replica() as opened:
        yield opened


def of_source(source: str, id: str) -> UsageEvent:  # noqa: A002 (the field's name)
    event = usage(id)
    event.source = source
    return event


def test_usage_too_large_for_one_event_of_the_log_is_divided(room: Room, replica: Replica) -> None:
    chance = random.Random(7)
    events = [usage(f"e-{row}", note=chance.randbytes(500).hex()) for row in range(4_000)]

    response = room.send(replica, *events)

    assert set(words(response.results)) == {"recorded"}
    assert len(response.receipts) == len(room.log()) > 2
    assert all(len(event.payload) <= PAYLOAD_BYTES_MAX for event in room.log())
    assert room.recorded_ids() == [event.id for event in events]
    assert {result.position for result in response.results} == {receipt.position for receipt in response.receipts}
    assert set(room.outcomes(replica, *events)) == {"duplicate"}


def test_a_retry_with_something_new_stores_only_what_is_new(room: Room, replica: Replica) -> None:
    room.send(replica, *[usage(f"e-{row}", region="eu") for row in range(100)])

    room.send(replica, *[usage(f"e-{row}", region="eu") for row in range(100)], usage("new", model="m"))

    assert properties_of(room.log()[1]) == [{"model": "m"}]


def test_each_source_keeps_to_its_partition(room: Room) -> None:
    sources = [f"source-{number}" for number in range(20)]
    events = [of_source(source, str(row)) for row in range(3) for source in sources]
    with room.replica(partitions=4) as replica:
        response = room.send(replica, *events)
        again = room.send(replica, *reversed(events), usage("", "1"))

    assert set(words(response.results)) == {"recorded"}
    assert words(again.results) == ["duplicate"] * 60 + ["invalid"]
    assert [result.position for result in again.results[:60]] == [result.position for result in response.results][::-1]
    assert {receipt.stream for receipt in response.receipts} == {f"usage-{number}" for number in range(4)}
    for partition in range(4):
        batch_sources = {source for source, _, _ in room.recorded(4) if partition_of(source, 4) == partition}
        assert batch_sources, "twenty sources reach every partition"
    assert len(room.recorded(4)) == 60


def test_requests_that_arrive_together_share_one_event_of_the_log(room: Room, replica: Replica) -> None:
    async def at_once() -> list[list[str]]:
        requests = [(usage("shared"), usage("shared", "2"), usage(f"own-{number}")) for number in range(8)]
        responses = await asyncio.gather(*(replica.send(*events) for events in requests))
        return [words(response.results) for response in responses]

    answers = room.runner.run(at_once())

    assert len(room.log()) == 1
    assert answers == [["recorded", "conflict", "recorded"]] + [["duplicate", "conflict", "recorded"]] * 7
