"""What other metering systems lost or counted twice at their doors, and this one must not."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from services.ingest import durable_append
from services.kernel.errors import Unavailable
from services.kernel.timestamp import to_timestamp
from tests.ingest_room import NOON, Replica, Room, Trouble, TroubledStore, open_room, usage, usage_batch, words
from tests.sent_arrow import columns, counts, send

LOST = Unavailable("the connection was lost")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with open_room(tmp_path) as opened:
        yield opened


@pytest.fixture
def replica(room: Room) -> Iterator[Replica]:
    with room.replica() as opened:
        yield opened


def test_usage_of_long_ago_is_stored_before_it_is_acknowledged(room: Room, replica: Replica) -> None:
    """openmeter #5005: what was older than a queue's retention was answered 204, then deleted unstored."""
    old, ancient = usage("e-1"), usage("e-2")
    old.time.CopyFrom(to_timestamp(NOON - timedelta(days=365 * 20)))
    ancient.time.CopyFrom(Timestamp(seconds=-62_135_596_800))

    response = room.send(replica, old, ancient)

    assert words(response.results) == ["recorded", "recorded"]
    assert room.recorded_ids() == ["e-1", "e-2"]
    assert response.receipts[0].leaf == room.log()[0].leaf


def test_what_was_not_stored_is_never_called_seen(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """openmeter #4902: a cache said "seen" of what the store never got, so the repeats were dropped."""
    monkeypatch.setattr(durable_append, "PAUSE_S", 0)
    store = TroubledStore(room.store, *[Trouble(is_written=False, error=LOST)] * durable_append.ATTEMPTS_MAX)
    with room.replica(store=store) as replica:
        with pytest.raises(Unavailable):
            room.send(replica, usage("e-1"))
        assert room.outcomes(replica, usage("e-1")) == ["recorded"]
    with room.replica(store=store) as replica:
        assert room.outcomes(replica, usage("e-1")) == ["duplicate"]
    assert room.recorded_ids() == ["e-1"]


def test_milliseconds_tell_usage_apart_and_survive(room: Room, replica: Replica) -> None:
    """lago #6209: times read to the second lost their milliseconds, and another event was meant."""
    first, second = usage("e-1"), usage("e-2")
    first.time.CopyFrom(Timestamp(seconds=1_706_702_400, nanos=123_000_000))
    second.time.CopyFrom(Timestamp(seconds=1_706_702_400, nanos=124_000_000))

    room.send(replica, first, second)

    times = [time.microsecond for time in usage_batch(room.log()[0]).column("time").to_pylist()]
    assert times == [123_000, 124_000]
    first.time.nanos = 124_000_000
    assert room.outcomes(replica, first) == ["conflict"]


def test_one_fact_sent_four_times_through_any_door_is_one_usage_event(room: Room, replica: Replica) -> None:
    """vexa #350: every event was billed four times. langfuse #15917: a retried job billed again."""
    outcomes = [room.outcomes(replica, usage("e-1"))[0] for _ in range(2)]
    again = [counts(send(room, replica, columns("e-1", "e-1"))) for _ in range(2)]

    assert (outcomes, again) == (["recorded", "duplicate"], [(0, 2, 0, 0, 0)] * 2)
    assert room.recorded_ids() == ["e-1"]


def test_the_same_id_of_two_producers_is_two_usage_events(room: Room, replica: Replica) -> None:
    """openmeter #126: the key of the deduplication lacked the tenant."""
    said = columns("e-1", "e-1", "e-1", source=["a", "b", "a"])

    assert counts(send(room, replica, said)) == (2, 1, 0, 0, 0)


def test_nothing_is_recorded_while_nobody_can_tell_what_was(room: Room) -> None:
    """flexprice #2184: processing went on when the deduplication failed."""
    replica = Replica(room.store, room.folder / "cold", room.clock)

    with pytest.raises(Unavailable):
        room.send(replica, usage("e-1"))
    with pytest.raises(Unavailable):
        send(room, replica, columns("e-1"))
    assert room.log() == ()


def test_a_value_keeps_all_its_digits(room: Room, replica: Replica) -> None:
    """openmeter #4747: what was written with all its digits went through a float on its way."""
    exact = "12345678901234567890123456.123456789012"
    room.send(replica, usage("e-1", exact))

    assert room.recorded() == [("gateway", "e-1", exact)]
    assert counts(send(room, replica, columns("e-1", value=[exact]))) == (0, 1, 0, 0, 0)
