"""A usage event is known by source and id, for ever: a retry is a duplicate, other content is a conflict."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.ingest.v1.ingest_pb2 import UsageEvent
from services.kernel.errors import InvalidInput
from services.kernel.timestamp import from_timestamp, to_timestamp
from tests.ingest_room import NOON, Replica, Room, open_room, properties_of, usage, words


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


def test_what_is_recorded_stands_in_the_log_with_a_receipt(room: Room, replica: Replica) -> None:
    response = room.send(replica, usage("e-1", "12.50", region="eu"), usage("e-2"))

    (event,), (receipt,) = room.log(), response.receipts
    assert room.recorded() == [("gateway", "e-1", "12.5"), ("gateway", "e-2", "1")]
    assert properties_of(event) == [{"region": "eu"}, {}]
    assert [(result.position, result.reason) for result in response.results] == [(event.position, "")] * 2
    assert (receipt.stream, receipt.version, receipt.position, receipt.leaf) == (
        "usage-0",
        0,
        event.position,
        event.leaf,
    )
    assert from_timestamp(receipt.recorded_at) == event.recorded_at


def test_a_retry_is_a_duplicate_and_tells_where_the_first_recording_stands(room: Room, replica: Replica) -> None:
    first = room.send(replica, usage("e-1"))
    room.send(replica, usage("e-2"))

    again = room.send(replica, usage("e-1"))

    assert words(again.results) == ["duplicate"]
    assert again.results[0].position == first.results[0].position
    assert (list(again.receipts), len(room.recorded())) == ([], 2)


@pytest.mark.parametrize(
    ("attribute", "value"), [("value", "2"), ("type", "other"), ("subject", "other"), ("time", to_timestamp(NOON))]
)
def test_the_same_id_with_other_content_is_a_conflict(
    room: Room, replica: Replica, attribute: str, value: object
) -> None:
    room.send(replica, usage("e-1"))
    other = usage("e-1")
    other.ClearField(attribute)  # type: ignore[arg-type]  # one of the fields above
    other.MergeFrom(UsageEvent(**{attribute: value}))  # type: ignore[arg-type]  # as above

    response = room.send(replica, other, usage("e-1", region="eu"), usage("e-2"))

    assert words(response.results) == ["conflict", "conflict", "recorded"]
    assert response.results[0].reason == "OTHER_CONTENT_RECORDED"
    assert "new id" in response.results[0].message
    assert room.recorded() == [("gateway", "e-1", "1"), ("gateway", "e-2", "1")]


def test_the_same_fact_written_another_way_is_a_duplicate(room: Room, replica: Replica) -> None:
    precise = usage("e-1", "1.500", a="1", b="2")
    precise.time.CopyFrom(Timestamp(seconds=1_700_000_000, nanos=123_456_789))
    room.send(replica, precise)

    same = usage("e-1", "001.5", b="2", a="1")
    same.time.CopyFrom(Timestamp(seconds=1_700_000_000, nanos=123_456_000))

    assert room.outcomes(replica, same) == ["duplicate"]


def test_within_one_batch_the_first_wins(room: Room, replica: Replica) -> None:
    response = room.send(
        replica, usage("e-1", "1"), usage("e-1", "1"), usage("e-1", "2"), usage("e-2"), usage("e-1", "1")
    )

    assert words(response.results) == ["recorded", "duplicate", "conflict", "recorded", "duplicate"]
    assert {result.position for result in response.results} == {room.log()[0].position}
    assert room.recorded() == [("gateway", "e-1", "1"), ("gateway", "e-2", "1")]


def test_the_same_id_of_two_sources_is_two_usage_events(room: Room, replica: Replica) -> None:
    assert room.outcomes(replica, of_source("a", "1"), of_source("b", "1")) == ["recorded", "recorded"]


def test_malformed_usage_events_are_answered_in_their_place(room: Room, replica: Replica) -> None:
    room.send(replica, usage("old"))

    response = room.send(replica, usage("", "1"), usage("new"), usage("bad", "NaN"), usage("old"), usage("old", "7"))

    assert words(response.results) == ["invalid", "recorded", "invalid", "duplicate", "conflict"]
    assert [(result.field, result.position > 0) for result in response.results] == [
        ("id", False),
        ("", True),
        ("value", False),
        ("", True),
        ("", True),
    ]
    assert room.recorded() == [("gateway", "old", "1"), ("gateway", "new", "1")]


def test_a_batch_in_which_everything_is_malformed_writes_nothing(room: Room, replica: Replica) -> None:
    assert room.outcomes(replica, usage(""), usage("x", "1e400")) == ["invalid", "invalid"]
    assert room.log() == ()


@pytest.mark.parametrize("count", [0, 10_001])
def test_an_empty_and_an_oversized_batch_are_refused_whole(room: Room, replica: Replica, count: int) -> None:
    with pytest.raises(InvalidInput, match="send 1 to 10000") as refused:
        room.send(replica, *[usage(f"e-{row}") for row in range(count)])

    assert (refused.value.field, room.log()) == ("events", ())


def test_the_largest_batch_is_recorded_whole(room: Room, replica: Replica) -> None:
    events = [usage(f"e-{row}", str(row)) for row in range(10_000)]

    assert set(room.outcomes(replica, *events)) == {"recorded"}
    assert len(room.recorded()) == 10_000
    assert set(room.outcomes(replica, *events)) == {"duplicate"}
