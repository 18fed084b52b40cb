"""Usage of a backfill is recorded under a source of its own, as long as its backfill takes usage."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from meterlog.events.v1.correction_pb2 import BackfillClosed, BackfillOpened, BackfillReverted
from meterlog.ingest.v1.ingest_pb2 import RecordUsageRequest, UsageEvent
from services.eventstore.catalogue import encode
from services.eventstore.event import StreamName
from services.ingest import backfill
from services.kernel.errors import InvalidInput, NotFound, RuleViolated
from tests.ingest_room import NOON, Replica, Room, open_room, usage, words
from tests.sent_arrow import columns, counts, send


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    monkeypatch.setattr(backfill, "FRESH_S", -1.0)
    with open_room(tmp_path) as opened:
        yield opened


@pytest.fixture
def replica(room: Room) -> Iterator[Replica]:
    with room.replica() as opened:
        yield opened


def state(room: Room, message: Message, key: str = "2023.q4") -> None:
    """Write what the aggregator states of a backfill."""
    stream = StreamName("backfill", key)
    version = len(room.store.read_stream(stream)) - 1
    room.store.append(stream, [encode(message, stream, version + 1, NOON)], version)


def load(room: Room, replica: Replica, *events: UsageEvent, key: str = "2023.q4") -> Any:
    request = RecordUsageRequest(events=events, backfill=key)
    return room.runner.run(replica.face.RecordUsage(request, None))  # type: ignore[arg-type]  # no context needed


def test_its_usage_stands_under_a_source_of_its_own(room: Room, replica: Replica) -> None:
    room.send(replica, usage("e-1"))
    state(room, BackfillOpened(key="2023.q4"))

    first = load(room, replica, usage("e-1", "2"))
    again = load(room, replica, usage("e-1", "2"), usage("e-1", "3"))

    assert (words(first.results), words(again.results)) == (["recorded"], ["duplicate", "conflict"])
    assert room.recorded() == [("gateway", "e-1", "1"), ("backfill/2023.q4/gateway", "e-1", "2")]


def test_columns_are_loaded_too(room: Room, replica: Replica) -> None:
    state(room, BackfillOpened(key="2023.q4"))

    response = send(room, replica, columns("e-1", "e-2", source=["a", "b"]), backfill="2023.q4")

    assert counts(response) == (2, 0, 0, 0, 0)
    assert [row[0] for row in room.recorded()] == ["backfill/2023.q4/a", "backfill/2023.q4/b"]


def test_a_backfill_that_nobody_opened_is_not_found(room: Room, replica: Replica) -> None:
    with pytest.raises(NotFound, match="no backfill"):
        load(room, replica, usage("e-1"))
    assert room.log() == ()


def test_a_closed_backfill_takes_what_was_left_out_and_a_reverted_one_nothing(room: Room, replica: Replica) -> None:
    state(room, BackfillOpened(key="2023.q4"))
    state(room, BackfillClosed(key="2023.q4"))
    assert words(load(room, replica, usage("e-1")).results) == ["recorded"]

    state(room, BackfillReverted(key="2023.q4"))
    with pytest.raises(RuleViolated) as refused:
        load(room, replica, usage("e-2"))
    assert refused.value.reason == "BACKFILL_REVERTED"


def test_an_open_backfill_is_read_once_in_a_while_and_a_missing_one_every_time(
    room: Room, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "FRESH_S", 3_600.0)
    with pytest.raises(NotFound):
        load(room, replica, usage("e-1"))
    state(room, BackfillOpened(key="2023.q4"))
    assert words(load(room, replica, usage("e-1")).results) == ["recorded"]

    state(room, BackfillReverted(key="2023.q4"))
    assert words(load(room, replica, usage("e-2")).results) == ["recorded"]


@pytest.mark.parametrize("key", ["a/b", "a b", "x" * 65, "ä", "a\n"])
def test_an_impossible_key_is_refused(room: Room, replica: Replica, key: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        load(room, replica, usage("e-1"), key=key)
    assert refused.value.field == "backfill"


def test_a_producer_cannot_write_under_a_backfill_by_itself(room: Room, replica: Replica) -> None:
    state(room, BackfillOpened(key="2023.q4"))
    sly = usage("e-1")
    sly.source = "backfill/2023.q4/gateway"

    assert [result.reason for result in room.send(replica, sly).results] == ["SOURCE_RESERVED"]
    assert [result.reason for result in load(room, replica, sly).results] == ["SOURCE_RESERVED"]
    by_column = send(room, replica, columns("e-1", source=["backfill/2023.q4/gateway"]))
    assert by_column.exceptions[0].result.reason == "SOURCE_RESERVED"


def test_a_source_that_becomes_too_long_is_answered_by_itself(room: Room, replica: Replica) -> None:
    state(room, BackfillOpened(key="2023.q4"))
    room_left = 256 - len("backfill/2023.q4/")
    fits, too_long = usage("e-1"), usage("e-2")
    fits.source, too_long.source = "x" * room_left, "x" * (room_left + 1)

    response = load(room, replica, fits, too_long)

    assert words(response.results) == ["recorded", "invalid"]
    assert response.results[1].reason == "SOURCE_TOO_LONG"
    assert f"at most {room_left}" in response.results[1].message
