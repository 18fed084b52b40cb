"""Once, through any number of replicas, restarts, lost races and appends of which nobody knows what became of them."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from services.eventstore.event import NO_STREAM, NewEvent, StreamName, WrongExpectedVersion
from services.eventstore.memory import MemoryEventStore
from services.ingest import admission, durable_append, group_recorder
from services.ingest.digests import KEY
from services.ingest.group import Group
from services.ingest.joined_usage import Usage, joined
from services.ingest.partition_writer import PartitionWriter
from services.ingest.recording import Commitment, Recording
from services.ingest.validate import validate
from services.kernel.clock import epoch_us
from services.kernel.errors import Overloaded, Unavailable
from services.kernel.timestamp import to_timestamp
from tests.ingest_room import NOON, Replica, Room, Trouble, TroubledStore, open_room, until, usage, words

LOST = Unavailable("the connection was lost")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with open_room(tmp_path) as opened:
        yield opened


@pytest.fixture
def replica(room: Room) -> Iterator[Replica]:
    with room.replica() as opened:
        yield opened


def test_a_retry_after_a_restart_is_a_duplicate(room: Room) -> None:
    with room.replica() as replica:
        room.send(replica, usage("e-1"))

    with room.replica() as replica:
        assert room.outcomes(replica, usage("e-1"), usage("e-1", "2")) == ["duplicate", "conflict"]


def test_what_another_replica_recorded_is_a_duplicate_here_too(room: Room) -> None:
    with room.replica("a") as a, room.replica("b") as b:
        first = room.send(a, usage("e-1"))
        again = room.send(b, usage("e-1"), usage("e-1", "2"), usage("e-2"))
        back = room.send(a, usage("e-2"), usage("e-2", "2"))

    assert words(again.results) == ["duplicate", "conflict", "recorded"]
    assert words(back.results) == ["duplicate", "conflict"]
    assert again.results[0].position == first.results[0].position
    assert len(room.recorded()) == 2


def test_the_same_batch_through_two_replicas_at_the_same_instant_is_recorded_by_one(room: Room) -> None:
    """The clock stands still, so both appends are equal but for who makes them."""
    with room.replica("a") as a, room.replica("b") as b:

        async def at_once() -> list[list[str]]:
            responses = await asyncio.gather(*(replica.send(usage("e-1"), usage("e-2")) for replica in (a, b)))
            return sorted(words(response.results) for response in responses)

        assert room.runner.run(at_once()) == [["duplicate"] * 2, ["recorded"] * 2]
    assert len(room.recorded()) == 2


@pytest.mark.parametrize("error", [LOST, TimeoutError()])
@pytest.mark.parametrize("is_written", [True, False])
def test_an_append_whose_outcome_is_unknown_is_looked_up_before_it_is_repeated(
    room: Room, monkeypatch: pytest.MonkeyPatch, error: Exception, is_written: bool
) -> None:
    monkeypatch.setattr(durable_append, "PAUSE_S", 0)
    store = TroubledStore(room.store, Trouble(is_written, error))
    with room.replica(store=store) as replica:
        response = room.send(replica, usage("e-1"))

    assert words(response.results) == ["recorded"]
    assert response.receipts[0].leaf == room.log()[0].leaf
    assert (store.submitted, len(room.recorded())) == (1 if is_written else 2, 1)


def test_an_append_that_is_never_answered_is_looked_up(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable_append, "APPEND_TIMEOUT_S", 0.01)
    store = TroubledStore(room.store, Trouble(is_written=True, error=None))
    with room.replica(store=store) as replica:
        assert room.outcomes(replica, usage("e-1")) == ["recorded"]
    assert len(room.recorded()) == 1


def test_an_outcome_that_stays_unknown_is_never_called_recorded_and_a_retry_finds_out(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable_append, "PAUSE_S", 0)
    store = TroubledStore(room.store, *[Trouble(is_written=False, error=LOST)] * durable_append.ATTEMPTS_MAX)
    with room.replica(store=store) as replica:
        with pytest.raises(Unavailable, match="send the same usage events again"):
            room.send(replica, usage("e-1"))
        late_write(room)
        assert room.outcomes(replica, usage("e-1"), usage("e-2")) == ["recorded", "recorded"]
    assert room.recorded_ids() == ["other", "e-1", "e-2"]


def late_write(room: Room) -> None:
    """Somebody else writes, so that the version that was tried is taken."""
    with room.replica("other") as other:
        room.send(other, usage("other"))


def test_a_stream_that_others_always_write_first_is_given_up_after_a_while(room: Room) -> None:
    lost = WrongExpectedVersion(StreamName("usage", "0"), -1, 0)
    store = TroubledStore(room.store, *[Trouble(is_written=False, error=lost)] * 1_000)
    with room.replica(store=store) as replica:
        with pytest.raises(Unavailable, match="other replicas"):
            room.send(replica, usage("e-1"))
        store.troubles.clear()
        assert room.outcomes(replica, usage("e-1")) == ["recorded"]


def test_a_log_that_was_cut_short_under_a_running_service_takes_nothing_more(room: Room) -> None:
    with room.replica() as replica:
        room.send(replica, usage("e-1"))
        room.send(replica, usage("e-2"))
        cut_short(room)

        with pytest.raises(Unavailable):
            room.send(replica, usage("e-3"))
        until(lambda: "cut short" in replica.follower.problem())

        assert not replica.follower.is_ready()
        assert len(room.log()) == 1


def cut_short(room: Room) -> None:
    """Restore the log as it was after its first event, as from an older copy."""
    first = room.log()[0]
    store = room.store
    assert isinstance(store, MemoryEventStore)
    store.__init__(room.clock)  # type: ignore[misc]  # the same store, empty
    store.append(first.stream, [NewEvent(first.id, first.type, first.schema_version, first.payload)], NO_STREAM)


def test_what_waits_is_bounded(room: Room, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "USAGE_EVENTS_ADMITTED_MAX", 10)

    async def at_once() -> list[object]:
        requests = [[usage(f"e-{number}-{row}") for row in range(4)] for number in range(4)]
        return await asyncio.gather(*(replica.send(*events) for events in requests), return_exceptions=True)

    answers = room.runner.run(at_once())

    refused = [answer for answer in answers if isinstance(answer, Overloaded)]
    assert (len(refused), len(room.recorded())) == (2, 8)
    assert set(room.outcomes(replica, usage("e-3-0"))) == {"recorded"}, "there is room again"


def test_bytes_that_wait_are_bounded_too(room: Room, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "BYTES_ADMITTED_MAX", 200)

    with pytest.raises(Overloaded):
        room.send(replica, usage("e-1", note="x" * 200))


def test_a_request_that_nobody_waits_for_any_more_is_left_out(room: Room, replica: Replica) -> None:
    async def impatient() -> list[str]:
        given_up = asyncio.ensure_future(replica.send(usage("given-up")))
        patient = asyncio.ensure_future(replica.send(usage("patient")))
        await asyncio.sleep(0)
        given_up.cancel()
        return words((await patient).results)

    assert room.runner.run(impatient()) == ["recorded"]
    assert room.recorded_ids() == ["patient"]


def prepared(parts: Sequence[Usage], commitment: Commitment) -> Group:
    batch = joined(parts)
    return Group(batch, np.zeros(batch.num_rows, KEY), np.zeros(batch.num_rows, np.uint64), commitment)


def test_callers_that_give_up_on_a_log_that_hangs_leave_nothing_in_memory() -> None:
    async def hanging(_group: Group) -> Recording:
        await asyncio.Event().wait()
        raise AssertionError("unreachable: nobody sets the event")

    async def impatient() -> tuple[int, int]:
        writer = PartitionWriter(prepared, hanging, gather_s=0)
        columns = validate([usage(f"e-{row}") for row in range(100)], epoch_us(NOON)).usage
        answers = [writer.submit(columns) for _ in range(50)]
        before = writer.waiting_rows()
        for answer in answers:
            answer.cancel()
        await asyncio.sleep(0)
        return before, writer.waiting_rows()

    assert asyncio.run(impatient()) == (5_000, 0)


def test_an_unforeseen_failure_answers_everybody_and_the_next_request_is_recorded(
    room: Room, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(group_recorder, "encode", lambda *_: 1 / 0)
        with pytest.raises(Unavailable, match="unforeseen"):
            room.send(replica, usage("e-1"))

    assert room.outcomes(replica, usage("e-1")) == ["recorded"]


def test_a_service_that_has_not_caught_up_refuses_for_now(room: Room) -> None:
    replica = Replica(room.store, room.folder / "cold", room.clock)

    with pytest.raises(Unavailable):
        room.send(replica, usage("e-1"))
    assert (replica.follower.is_ready(), room.log()) == (False, ())


def test_usage_in_the_future_is_judged_by_the_clock_of_the_service(room: Room, replica: Replica) -> None:
    tomorrow = usage("e-1")
    tomorrow.time.CopyFrom(to_timestamp(NOON + timedelta(days=2)))

    assert room.outcomes(replica, tomorrow) == ["invalid"]
    room.clock.advance(NOON + timedelta(days=1))
    assert room.outcomes(replica, tomorrow) == ["recorded"]
