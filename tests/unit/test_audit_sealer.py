"""A sealer signs what goes on from what it signed, on logs with and without gaps, and refuses everything else."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from services.eventstore.audit import sealed_folder, sealer
from services.eventstore.audit.chain import merkle_root
from services.eventstore.audit.checkpoint import opened_checkpoint, origin_of
from services.eventstore.audit.positions import positions_of
from services.eventstore.audit.sealed_folder import SealedFolder
from services.eventstore.audit.sealer import Sealer
from services.eventstore.audit.tiles import TileReader, tile_name
from services.eventstore.event import BEGINNING, Position
from services.eventstore.memory import MemoryEventStore
from services.eventstore.store import EventStore
from services.kernel.clock import monotonic_s
from services.kernel.errors import Corrupt, NotFound, Unavailable
from tests.audit_room import CLOCK, KEY, KEYS, OTHER_KEY, GappedStore, fill, memory_log, sealed, verified

WAIT_S = 60.0

Make = Callable[[MemoryEventStore], EventStore]
every_kind_of_log = pytest.mark.parametrize("kind", [lambda store: store, GappedStore], ids=["contiguous", "gapped"])


def leaves_of(store: EventStore) -> list[bytes]:
    return [event.leaf for event in store.read_all(after=BEGINNING).events]


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_log_without_events_is_not_sealed(tmp_path: Path) -> None:
    assert Sealer(MemoryEventStore(CLOCK), tmp_path, KEY).seal() is None
    with pytest.raises(NotFound, match="nothing was sealed"):
        SealedFolder(tmp_path).required(KEYS)


@every_kind_of_log
def test_each_checkpoint_holds_the_root_of_all_events_so_far(kind: Make, tmp_path: Path) -> None:
    inner = MemoryEventStore(CLOCK)
    log, size = kind(inner), 0
    for count in (1, 1, 2, 250, 2, 1, 255, 1, 600, 3):
        fill(inner, count, first=size + 1)
        size += count
        checkpoint = sealed(log, tmp_path)
        leaves = leaves_of(inner)
        assert (checkpoint.size, checkpoint.root) == (size, merkle_root(leaves))
        assert checkpoint.origin == origin_of(leaves[0])
        assert opened_checkpoint((tmp_path / "checkpoint").read_text(), KEYS) == checkpoint
    assert SealedFolder(tmp_path).sizes() == [1, 2, 4, 254, 256, 257, 512, 513, 1113, 1116]
    assert verified(log, tmp_path).verified


def test_nothing_new_is_nothing_signed(tmp_path: Path) -> None:
    store = memory_log(10)
    first = sealed(store, tmp_path)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in files_in(tmp_path)}
    assert sealed(store, tmp_path) == first
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in files_in(tmp_path)} == before


def test_the_tiles_are_those_of_the_standard(tmp_path: Path) -> None:
    """The example of the standard, scaled down: 700 leaves are two full tiles, one of 188, and one of two roots."""
    store = memory_log(700)
    sealed(store, tmp_path)
    assert files_in(tmp_path / "tile") == {"0/000", "0/001", "0/002.p/188", "1/000.p/2"}
    leaves = leaves_of(store)
    assert (tmp_path / "tile/0/001").read_bytes() == b"".join(leaves[256:512])
    assert (tmp_path / "tile/1/000.p/2").read_bytes() == merkle_root(leaves[:256]) + merkle_root(leaves[256:512])


def test_tiles_are_named_in_groups_of_three_digits() -> None:
    assert tile_name(0, 1_234_067, 256) == "tile/0/x001/x234/067"
    assert tile_name(2, 0, 17) == "tile/2/000.p/17"
    assert tile_name(1, 1000, 1) == "tile/1/x001/000.p/1"


def test_tiles_that_are_full_now_leave_nothing_behind(tmp_path: Path) -> None:
    store = memory_log(10)
    sealed(store, tmp_path)
    fill(store, 300, first=11)
    sealed(store, tmp_path)
    assert files_in(tmp_path / "tile") == {"0/000", "0/001.p/54", "1/000.p/1"}
    old = SealedFolder(tmp_path).checkpoint_at(10, KEYS)
    assert merkle_root(TileReader(tmp_path, old.size).tile(0, 0)) == old.root


def test_a_long_log_is_sealed_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer, "SEAL_EVENTS_MAX", 100)
    monkeypatch.setattr(sealer, "SEAL_PAGE_MAX", 30)
    assert sealed(memory_log(250), tmp_path).size == 250
    assert SealedFolder(tmp_path).sizes() == [100, 200, 250]


def without_last(count: int) -> MemoryEventStore:
    return memory_log(count)


def with_other_event(place: int) -> MemoryEventStore:
    store = memory_log(place - 1)
    fill(store, 1, first=place, payload=b"another")
    fill(store, 20, first=place + 1)
    return store


@pytest.mark.parametrize(
    ("changed", "first_bad"),
    [
        (lambda: memory_log(0), 1),
        (lambda: memory_log(7), 8),
        (lambda: memory_log(9), 10),
        (lambda: with_other_event(1), 1),
        (lambda: with_other_event(6), 6),
        (lambda: with_other_event(10), 10),
    ],
    ids=["emptied", "cut", "last cut", "other log", "rewritten", "other end"],
)
@every_kind_of_log
def test_a_log_that_does_not_go_on_from_what_was_sealed_is_refused(
    kind: Make, changed: Callable[[], MemoryEventStore], first_bad: int, tmp_path: Path
) -> None:
    sealed(kind(memory_log(10)), tmp_path)
    before = (tmp_path / "checkpoint").read_bytes()
    log = kind(changed())
    step = GappedStore.STEP if isinstance(log, GappedStore) else 1
    with pytest.raises(Corrupt, match="nothing was signed") as alarm:
        sealed(log, tmp_path)
    cut = len(leaves_of(log)) < first_bad
    expected = (first_bad - 1) * step + 1 if cut else first_bad * step
    assert alarm.value.metadata["first_bad_position"] == str(expected)
    assert ((tmp_path / "checkpoint").read_bytes(), SealedFolder(tmp_path).sizes()) == (before, [10])


def test_an_event_that_does_not_give_its_leaf_is_not_sealed(tmp_path: Path) -> None:
    store = memory_log(10)
    sealed(store, tmp_path)
    fill(store, 5, first=11)
    damage(store, 13)
    with pytest.raises(Corrupt, match="does not give its leaf") as alarm:
        sealed(store, tmp_path)
    assert alarm.value.metadata["first_bad_position"] == "13"
    assert SealedFolder(tmp_path).sizes() == [10]


def damage(store: MemoryEventStore, position: int) -> None:
    """Change the payload of an event where it is kept, leaf and chain untouched."""
    event = store._events[position - 1]
    object.__setattr__(event, "payload", b"changed")


def test_a_log_that_moved_to_other_positions_goes_on_being_sealed(tmp_path: Path) -> None:
    store = memory_log(300)
    sealed(store, tmp_path)
    for moved in (GappedStore(store), GappedStore(store, step=9)):
        assert sealed(moved, tmp_path).size == 300
        assert verified(moved, tmp_path).verified
    fill(store, 10, first=301)
    assert sealed(GappedStore(store, step=9), tmp_path).size == 310
    assert sealed(store, tmp_path).size == 310


@pytest.mark.parametrize("content", [b"", b"\0" * 79, b"\0" * 80, b"\xff" * 80, b"\0" * 7 + b"\x05"])
def test_positions_that_are_lost_or_wrong_are_renewed_from_the_log(content: bytes, tmp_path: Path) -> None:
    inner = memory_log(10)
    log = GappedStore(inner)
    sealed(log, tmp_path)
    right = (tmp_path / "positions").read_bytes()
    (tmp_path / "positions").write_bytes(content)
    fill(inner, 1, first=11)
    assert sealed(log, tmp_path).size == 11
    assert (tmp_path / "positions").read_bytes()[:80] == right


def test_the_key_may_be_changed(tmp_path: Path) -> None:
    store = memory_log(3)
    sealed(store, tmp_path)
    fill(store, 3, first=4)
    with pytest.raises(Corrupt, match="with a key that is not"):
        sealed(store, tmp_path, OTHER_KEY)
    checkpoint = Sealer(store, tmp_path, OTHER_KEY, (KEY.verifier,)).seal()
    assert checkpoint is not None
    assert opened_checkpoint(checkpoint.note, (OTHER_KEY.verifier,)).size == 6
    assert not verified(store, tmp_path).verified


def test_a_checkpoint_that_was_taken_away_or_put_back_is_no_new_beginning(tmp_path: Path) -> None:
    store = memory_log(3)
    sealed(store, tmp_path)
    old = (tmp_path / "checkpoint").read_bytes()
    fill(store, 3, first=4)
    sealed(store, tmp_path)
    (tmp_path / "checkpoint").write_bytes(old)
    with pytest.raises(Corrupt, match="an older one was put in its place"):
        sealed(store, tmp_path)
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(Corrupt, match="missing"):
        sealed(store, tmp_path)


def test_a_tile_that_was_changed_stops_the_sealer(tmp_path: Path) -> None:
    store = memory_log(3)
    sealed(store, tmp_path)
    (tmp_path / "tile/0/000.p/3").write_bytes(bytes(96))
    with pytest.raises(Corrupt, match="do not give the root"):
        sealed(store, tmp_path)
    (tmp_path / "tile/0/000.p/3").unlink()
    with pytest.raises(Corrupt, match=r"tile/0/000\.p/3 is missing"):
        sealed(store, tmp_path)


def test_sealers_of_one_folder_take_turns(tmp_path: Path) -> None:
    store = MemoryEventStore(CLOCK)
    fill(store, 1)
    problems: list[Exception] = []

    def seal_often() -> None:
        try:
            for _ in range(20):
                sealed(store, tmp_path)
        except Exception as error:
            problems.append(error)
            raise

    threads = [threading.Thread(target=seal_often, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for round_ in range(40):
        fill(store, 13, first=2 + 13 * round_)
    for thread in threads:
        thread.join(60)
    assert (problems, sealed(store, tmp_path).size) == ([], 521)
    assert verified(store, tmp_path).verified


def test_a_folder_is_verified_while_it_is_sealed_into(tmp_path: Path) -> None:
    store = MemoryEventStore(CLOCK)
    fill(store, 1)
    sealed(store, tmp_path)
    is_over = threading.Event()

    def seal_on() -> None:
        first = 2
        while not is_over.is_set():
            fill(store, 40, first=first)
            sealed(store, tmp_path)
            first += 40

    sealing = threading.Thread(target=seal_on, daemon=True)
    sealing.start()
    results, give_up_s = [verified(store, tmp_path)], monotonic_s() + WAIT_S
    while (len(results) < 25 or results[-1].sealed == results[0].sealed) and monotonic_s() < give_up_s:
        results.append(verified(store, tmp_path))
    is_over.set()
    sealing.join(60)
    assert [result.problem for result in results if not result.verified] == []
    assert results[-1].sealed > results[0].sealed


def test_a_sealer_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_folder, "LOCK_TIMEOUT_S", 0.05)
    with SealedFolder(tmp_path).locked(), pytest.raises(Unavailable, match="another sealer"):
        sealed(memory_log(1), tmp_path)


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be written"):
        sealed(memory_log(1), tmp_path / "file")


def test_a_sealed_folder_can_be_read_without_permission_to_write(tmp_path: Path) -> None:
    inner = memory_log(20)
    log = GappedStore(inner)
    sealed(log, tmp_path)
    (tmp_path / "lock").unlink()
    before = sorted(tmp_path.iterdir())
    assert verified(log, tmp_path).verified
    assert sorted(tmp_path.iterdir()) == before


def test_a_position_is_found_from_its_file(tmp_path: Path) -> None:
    log = GappedStore(memory_log(20))
    sealed(log, tmp_path)
    index = positions_of(log, tmp_path)
    assert [index.position_of(each) for each in (0, 19, 20)] == [7, 140, None]
    assert [index.index_from(Position(each), 20) for each in (0, 7, 8, 140, 141)] == [0, 0, 1, 19, 20]
