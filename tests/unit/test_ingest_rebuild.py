"""The dedupe index can be built anew from the log at any time, is then equal, and takes over without a gap."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.eventstore.event import Position
from services.ingest.dedupe_index import Fold
from services.ingest.digests import KEY
from services.ingest.index_entries import IndexBroken
from services.ingest.index_folder import IndexFolder
from services.ingest.index_manifest import Checkpoint
from services.kernel.errors import RuleViolated, Unavailable
from services.projection.projection import Comparison, RebuildMode, RebuildProgress
from tests.ingest_room import Replica, Room, open_room, usage, words


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with open_room(tmp_path) as opened:
        yield opened


@pytest.fixture
def replica(room: Room) -> Iterator[Replica]:
    with room.replica(partitions=2) as opened:
        for batch in range(40):
            room.send(opened, *[usage(f"e-{batch}-{row}") for row in range(5)])
        yield opened


def rebuilt(
    replica: Replica, mode: RebuildMode = RebuildMode.SWAP_WHEN_EQUAL
) -> tuple[Comparison, list[RebuildProgress]]:
    progress: list[RebuildProgress] = []
    return replica.follower.rebuild(mode=mode, progress=progress.append), progress


def generations(room: Room) -> list[str]:
    return sorted(path.name for path in (room.folder / "a").iterdir() if path.is_dir())


def test_a_rebuilt_index_is_equal_and_takes_over(room: Room, replica: Replica) -> None:
    comparison, progress = rebuilt(replica)

    head = room.store.head().position
    assert (comparison.is_equal, comparison.is_swapped, comparison.position) == (True, True, head)
    assert [step.events for step in progress] == list(range(1, 41))
    assert (progress[-1].position, progress[-1].head_position) == (head, head)
    assert (replica.follower.status().generation, generations(room)) == (2, ["2"])
    assert room.outcomes(replica, usage("e-0-0"), usage("e-0-0", "2"), usage("new")) == [
        "duplicate",
        "conflict",
        "recorded",
    ]


def test_the_index_that_took_over_is_the_one_used_after_a_restart(room: Room, replica: Replica) -> None:
    rebuilt(replica)
    replica.stop()

    with room.replica(partitions=2) as again:
        assert again.follower.status().generation == 2
        assert room.outcomes(again, usage("e-0-0")) == ["duplicate"]


def test_a_comparison_alone_changes_nothing(room: Room, replica: Replica) -> None:
    comparison, _ = rebuilt(replica, RebuildMode.COMPARE_ONLY)

    assert (comparison.is_equal, comparison.is_swapped) == (True, False)
    assert (replica.follower.status().generation, generations(room)) == (1, ["1"])


def spoil(replica: Replica) -> None:
    """Give the live index a key that the log does not have."""
    with replica.live.lent() as index:
        ((partition, checkpoint),) = index.checkpoints().items()
        next_one = Checkpoint(checkpoint.version + 1, checkpoint.position, bytes(16))
        index.fold(partition, Fold(next_one, np.array([(1, 2)], KEY), np.array([3], np.uint64)))
        index._checkpoints[partition] = checkpoint


def test_an_index_that_differs_from_the_log_is_told_and_kept(room: Room, replica: Replica) -> None:
    spoil(replica)

    comparison, _ = rebuilt(replica)

    assert (comparison.is_equal, comparison.is_swapped, generations(room)) == (False, False, ["1"])


def test_an_operator_can_let_a_rebuilt_index_take_over_from_one_that_differs(room: Room, replica: Replica) -> None:
    spoil(replica)

    comparison, _ = rebuilt(replica, RebuildMode.REPLACE)

    assert (comparison.is_equal, comparison.is_swapped, generations(room)) == (False, True, ["2"])
    assert rebuilt(replica, RebuildMode.COMPARE_ONLY)[0].is_equal
    assert room.outcomes(replica, usage("e-0-0"), usage("new")) == ["duplicate", "recorded"]


def test_usage_recorded_during_a_rebuild_is_in_the_rebuilt_index(room: Room, replica: Replica) -> None:
    sent: list[str] = []

    def meanwhile(progress: RebuildProgress) -> None:
        if progress.events % 10 == 0:
            asyncio.run_coroutine_threadsafe(send_one(f"during-{progress.events}"), loop).result(60)

    async def send_one(name: str) -> None:
        sent.extend(words((await replica.send(usage(name))).results))

    async def rebuild() -> Comparison:
        return await asyncio.to_thread(replica.follower.rebuild, mode=RebuildMode.SWAP_WHEN_EQUAL, progress=meanwhile)

    loop = room.runner.get_loop()
    comparison = room.runner.run(rebuild())

    assert (comparison.is_swapped, comparison.position) == (True, room.store.head().position)
    assert sent == ["recorded"] * 4
    assert room.outcomes(replica, usage("during-10"), usage("during-40")) == ["duplicate"] * 2


def test_two_rebuilds_at_once_are_refused(replica: Replica) -> None:
    is_running, may_end = threading.Event(), threading.Event()

    def wait(_: RebuildProgress) -> None:
        is_running.set()
        assert may_end.wait(60)

    first = threading.Thread(
        daemon=True, target=lambda: replica.follower.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=wait)
    )
    first.start()
    try:
        assert is_running.wait(60)
        with pytest.raises(RuleViolated, match="runs already"):
            rebuilt(replica)
    finally:
        may_end.set()
        first.join(60)


def test_a_rebuild_that_fails_leaves_the_live_index_alone(
    room: Room, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: RebuildProgress) -> None:
        raise IndexBroken("no room on the disk")

    with pytest.raises(Unavailable, match="beside the live one"):
        replica.follower.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=fail)
    with monkeypatch.context() as patched:
        patched.setattr(IndexFolder, "_open", lambda *_: fail(RebuildProgress(Position(0), Position(0), 0)))
        with pytest.raises(IndexBroken):
            rebuilt(replica)

    assert (replica.follower.is_ready(), generations(room)) == (True, ["1"])
    assert room.outcomes(replica, usage("e-0-0")) == ["duplicate"]


def test_a_status_tells_where_the_index_stands(room: Room, replica: Replica) -> None:
    status = replica.follower.status()

    assert (status.name, status.generation, status.is_caught_up, status.stop_reason) == ("usage_dedupe", 1, True, "")
    assert status.position == status.head_position == room.store.head().position


def test_a_status_before_the_start_is_that_of_an_empty_index(room: Room) -> None:
    status = Replica(room.store, room.folder / "cold", room.clock).follower.status()

    assert (status.generation, status.position, status.is_caught_up) == (0, 0, False)
