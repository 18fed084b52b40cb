"""Usage that is sent while ingest cannot read its log waits at the producer, and is recorded once it can."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from meterlog.client import Meterlog, RetryPolicy, Sending, UsageOutcome
from services.eventstore.catalogue import UPCASTS
from services.eventstore.event import NewEvent, StreamName
from services.eventstore.upcasting import StoredForm, Upcast
from services.ingest import index_follower
from services.ingest.server import INGEST_SERVICE
from services.kernel.errors import Unavailable
from services.rpc.errors import status_code
from tests.ingest_room import NOON, WAIT_S, Replica, Room, open_room, until, usage
from tests.served import served

NEWER = ("UsageRecorded", 9)
"""A form that no release knows yet."""
QUICK = Sending(linger_s=0.005, retry=RetryPolicy(give_up_after_s=WAIT_S, first_delay_s=0.01, delay_max_s=0.1))


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with open_room(tmp_path) as opened:
        yield opened


def write_newer(room: Room) -> None:
    """What a newer release recorded: the first usage event again, in a form of its own."""
    first = room.log()[0]
    room.store.append(StreamName("usage", "0"), [NewEvent(uuid4(), *NEWER, first.payload)], first.version)


def upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the newer form is known."""
    known = Upcast((("UsageRecorded", 1),), lambda stored: [StoredForm("UsageRecorded", 1, stored.payload)])
    monkeypatch.setitem(UPCASTS, NEWER, known)


def test_usage_is_refused_for_now_while_the_log_holds_what_this_release_does_not_know(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_follower, "FOLLOW_PERIOD_S", WAIT_S)
    with room.replica() as replica:
        room.send(replica, usage("e-1"))
        write_newer(room)
        with pytest.raises(Unavailable, match="until ingest can read its log") as refusal:
            room.send(replica, usage("e-2"))
        assert refusal.value.reason == "UNKNOWN_EVENT_TYPE"
        assert RetryPolicy().delay_s(status_code(refusal.value).name, 1, 0.0, 0.0) is not None
        assert not replica.follower.is_ready()
        with pytest.raises(Unavailable):
            room.send(replica, usage("e-3"))
    assert len(room.log()) == 2


def test_a_quiet_replica_takes_no_usage_either(room: Room) -> None:
    with room.replica() as replica:
        room.send(replica, usage("e-1"))
        write_newer(room)
        until(lambda: "UsageRecorded" in replica.follower.problem())
        assert not replica.live.is_caught_up()
        assert not replica.follower.status().is_caught_up


def test_a_producer_keeps_its_usage_until_ingest_can_read_the_log(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    replica = Replica(room.store, room.folder / "a", room.clock)
    replica.start()
    with served([(INGEST_SERVICE, replica.face.register)]) as address, Meterlog(address, sending=QUICK) as producer:
        record(producer, "e-1").result(WAIT_S)
        write_newer(room)
        waiting = record(producer, "e-2")
        until(lambda: not replica.follower.is_ready())
        assert not waiting.done()
        upgrade(monkeypatch)
        assert waiting.result(WAIT_S).outcome is UsageOutcome.RECORDED
    replica.stop()
    assert len(room.log()) == 3


def record(producer: Meterlog, identifier: str):  # type: ignore[no-untyped-def]  # the client's future
    return producer.record(id=identifier, source="gateway", type="llm.completion", subject="tenant-1", time=NOON)
