"""An index that is lost, damaged, behind or of another log gives the same answers once it is level with the log."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.eventstore.event import NewEvent, StreamName
from services.eventstore.memory import MemoryEventStore
from services.eventstore.store import EventStore
from services.ingest import live_index
from services.ingest.dedupe_index import DedupeIndex
from services.ingest.index_entries import IndexBroken
from services.kernel.errors import DomainError, RuleViolated, Unavailable
from tests.ingest_room import Replica, Room, open_room, until, usage, words


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with open_room(tmp_path) as opened:
        yield opened


class RewindableStore:
    """A store whose log can be replaced under those who use it."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    def rewind(self, store: EventStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def lose(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def forget_which(folder: Path) -> None:
    (folder / "live").write_text("seven")


def damage_file(folder: Path) -> None:
    file = next(folder.glob("*/manifest"))
    file.write_bytes(os.urandom(file.stat().st_size))


@pytest.mark.parametrize("loss", [lose, forget_which, damage_file])
def test_a_lost_index_is_built_anew_and_gives_the_same_answers(room: Room, loss: object) -> None:
    events = [usage(f"e-{row}", str(row)) for row in range(50)]
    with room.replica() as replica:
        first = room.send(replica, *events[:20])
        room.send(replica, *events[20:])
        digest = digest_of(replica)

    loss(room.folder / "a")  # type: ignore[operator]  # one of the three above

    with room.replica() as replica:
        assert digest_of(replica) == digest
        again = room.send(replica, *events[:20], usage("e-1", "999"), usage("new"))
        assert [result.position for result in again.results[:20]] == [result.position for result in first.results]
        assert room.outcomes(replica, *events, usage("e-1", "999")) == ["duplicate"] * 50 + ["conflict"]
    assert len(room.recorded()) == 51


def test_an_index_behind_the_log_catches_up(room: Room) -> None:
    with room.replica("a") as replica:
        room.send(replica, usage("e-1"))
    with room.replica("b") as other:
        room.send(other, usage("e-2"))

    with room.replica("a") as replica:
        assert room.outcomes(replica, usage("e-1"), usage("e-2"), usage("e-2", "5")) == [
            "duplicate",
            "duplicate",
            "conflict",
        ]


def test_an_index_ahead_of_the_log_is_refused_until_an_operator_deletes_it(room: Room, tmp_path: Path) -> None:
    with room.replica() as replica:
        room.send(replica, usage("e-1"))
        room.send(replica, usage("e-2"))

    with open_room(tmp_path) as restored:
        with pytest.raises(RuleViolated, match="cut short") as refusal, restored.replica():
            pass
        assert refusal.value.reason == "LOG_REWOUND"
        lose(room.folder / "a")
        with restored.replica() as replica:
            restored.send(replica, usage("e-1"))
            assert restored.outcomes(replica, usage("e-1"), usage("e-2")) == ["duplicate", "recorded"]


def test_an_index_of_another_log_is_refused(room: Room, tmp_path: Path) -> None:
    with room.replica() as replica:
        room.send(replica, usage("e-1"))

    with open_room(tmp_path) as other:
        with other.replica("b") as replica:
            other.send(replica, usage("e-2"))
        with pytest.raises(RuleViolated, match="delete its folder usage_dedupe"), other.replica("a"):
            pass


def test_a_log_that_is_rewound_while_ingest_runs_takes_nothing_more(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ingest.index_follower.FOLLOW_PERIOD_S", 0.01)
    store = RewindableStore(room.store)
    with room.replica(store=store) as replica:
        room.send(replica, usage("e-1"))
        store.rewind(MemoryEventStore(room.clock))
        until(lambda: "cut short" in replica.follower.problem())
        assert not replica.follower.is_ready()
        with pytest.raises(DomainError):
            room.send(replica, usage("e-2"))
        assert store.read_stream(StreamName("usage", "0")) == ()


def test_usage_in_a_form_of_a_newer_release_stops_ingest_with_the_reason_and_counts_nothing_twice(room: Room) -> None:
    with room.replica() as replica:
        room.send(replica, usage("e-1"))
        room.store.append(StreamName("usage", "0"), [NewEvent(uuid4(), "UsageRecorded", 2, b"columns")], 0)
        for again in ("e-1", "e-2"):
            with pytest.raises(Unavailable):
                room.send(replica, usage(again), usage("e-3"))
        until(lambda: "UsageRecorded version 2" in replica.follower.problem())
        assert not replica.follower.is_ready()
        assert len(room.log()) == 2


def test_an_index_that_breaks_in_use_is_built_anew_while_the_service_runs(room: Room) -> None:
    with room.replica() as replica:
        room.send(replica, usage("e-1"))
        generation = replica.follower.status().generation

        break_in_use(replica)
        until(replica.follower.is_ready)

        assert room.outcomes(replica, usage("e-1"), usage("e-2")) == ["duplicate", "recorded"]
        assert replica.follower.status().generation > generation
        assert [path.name for path in (room.folder / "a").iterdir() if path.is_dir()] == [
            str(replica.follower.status().generation)
        ]


def test_an_index_that_breaks_after_the_commit_takes_nothing_back(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bool:
        raise IndexBroken("the disk is full")

    with room.replica() as replica:
        with monkeypatch.context() as patched:
            patched.setattr(DedupeIndex, "fold", fail)
            assert room.outcomes(replica, usage("e-1")) == ["recorded"]
        until(replica.follower.is_ready)

        assert room.outcomes(replica, usage("e-1"), usage("e-1", "2")) == ["duplicate", "conflict"]
    assert room.recorded_ids() == ["e-1"]


def test_a_batch_sent_again_while_the_index_is_behind_is_a_duplicate_though_the_clock_stands(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise Unavailable("the index takes nothing for a moment")

    with room.replica() as replica:
        with monkeypatch.context() as patched:
            patched.setattr(DedupeIndex, "fold", fail)
            assert room.outcomes(replica, usage("e-1")) == ["recorded"]
        assert room.outcomes(replica, usage("e-1")) == ["duplicate"]
    assert room.recorded_ids() == ["e-1"]


def test_usage_waits_politely_while_the_index_is_lent_to_another_thread(room: Room) -> None:
    is_lent, may_end = threading.Event(), threading.Event()

    def hold(replica: Replica) -> None:
        with replica.live.lent():
            is_lent.set()
            assert may_end.wait(60)

    async def send_meanwhile(replica: Replica) -> list[str]:
        sending = asyncio.ensure_future(replica.send(usage("e-1")))
        await asyncio.wait({sending}, timeout=0.05)
        assert not sending.done(), "the event loop went on, the request did not"
        may_end.set()
        return words((await sending).results)

    with room.replica() as replica:
        holder = threading.Thread(daemon=True, target=hold, args=(replica,))
        holder.start()
        assert is_lent.wait(60)
        assert room.runner.run(send_meanwhile(replica)) == ["recorded"]
        holder.join(60)


def test_usage_is_refused_when_the_index_is_lent_for_too_long(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_index, "LEND_TIMEOUT_S", 0.01)
    with room.replica() as replica, replica.live.lent(), pytest.raises(Unavailable, match="busy"):
        room.send(replica, usage("e-1"))
    assert room.log() == ()


def break_in_use(replica: Replica) -> None:
    with pytest.raises(IndexBroken), replica.live.lent():
        raise IndexBroken("the disk is full")
    assert not replica.follower.is_ready()


def digest_of(replica: Replica) -> str:
    with replica.live.lent() as index:
        return index.digest()
