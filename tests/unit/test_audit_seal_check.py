"""Verification against a sealed folder: every byte of every file counts, and what the log lost or changed is found."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from services.eventstore.audit.sealed_folder import SealedFolder
from services.eventstore.audit.verify import WHOLE, Span, verify
from services.eventstore.event import Position
from services.eventstore.memory import MemoryEventStore
from services.eventstore.sqlite.read_only import ReadOnlySqliteEventStore
from services.eventstore.sqlite.store import SqliteEventStore
from services.eventstore.store import EventStore
from services.kernel.errors import NotFound, RuleViolated
from tests.audit_room import CLOCK, KEY, GappedStore, fill, flipped, memory_log, sealed, verified

EVENTS = 530


@pytest.fixture
def log() -> MemoryEventStore:
    return MemoryEventStore(CLOCK)


def sealed_in_steps(store: EventStore, inner: MemoryEventStore, folder: Path) -> None:
    for size in (1, 3, 256, 500, EVENTS):
        fill(inner, size - inner.head().position, first=inner.head().position + 1)
        sealed(store, folder)


def damaged_files(folder: Path, store: EventStore, places: Callable[[int], range]) -> dict[str, list[int]]:
    """Per file the places at which a turned bit was not found, or was blamed on another file."""
    missed: dict[str, list[int]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in ("lock", "sealer")):
        name, content = path.relative_to(folder).as_posix(), path.read_bytes()
        for place in places(len(content)):
            path.write_bytes(flipped(content, place))
            found = verified(store, folder)
            if found.verified or found.first_bad_file != name:
                missed.setdefault(name, []).append(place)
        path.write_bytes(content)
    return missed


def test_a_turned_bit_in_any_file_is_found_and_the_file_named(log: MemoryEventStore, tmp_path: Path) -> None:
    sealed_in_steps(log, log, tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "tile").rglob("*") if path.is_file()}
    assert names == {"tile/0/000", "tile/0/001", "tile/0/002.p/18", "tile/1/000.p/1", "tile/1/000.p/2"}
    assert damaged_files(tmp_path, log, lambda length: range(0, length, 211 if length > 2000 else 13)) == {}
    assert verified(log, tmp_path).verified


def test_every_byte_of_every_file_counts(log: MemoryEventStore, tmp_path: Path) -> None:
    store = GappedStore(log)
    for size in (2, 5):
        fill(log, size - log.head().position, first=log.head().position + 1)
        sealed(store, tmp_path)
    assert damaged_files(tmp_path, store, range) == {}
    assert verified(store, tmp_path).verified


@pytest.mark.parametrize("change", ["cut", "lengthened", "removed"])
def test_a_file_of_the_wrong_length_is_named(change: str, log: MemoryEventStore, tmp_path: Path) -> None:
    sealed_in_steps(log, log, tmp_path)
    for name in ("checkpoint", "tile/0/000", "tile/0/001", "tile/0/002.p/18", "tile/1/000.p/2"):
        path = tmp_path / name
        content = path.read_bytes()
        if change == "removed":
            path.unlink()
        else:
            path.write_bytes(content[:-1] if change == "cut" else content + b"\n")
        found = verified(log, tmp_path)
        assert (found.verified, found.first_bad_file) == (False, name), found.problem
        path.write_bytes(content)


def test_two_checkpoints_of_one_size_are_a_split_view(log: MemoryEventStore, tmp_path: Path) -> None:
    sealed_in_steps(log, log, tmp_path)
    other = MemoryEventStore(CLOCK)
    fill(other, 1)
    fill(other, 2, first=2, payload=b"shown to somebody else")
    sealed(other, tmp_path / "other")
    (tmp_path / "checkpoints/3").write_bytes((tmp_path / "other/checkpoint").read_bytes())
    found = verified(log, tmp_path)
    assert (found.first_bad_file, "split view" in found.problem) == ("checkpoints/3", True)


def test_a_checkpoint_of_another_log_is_found(log: MemoryEventStore, tmp_path: Path) -> None:
    sealed_in_steps(log, log, tmp_path)
    other = MemoryEventStore(CLOCK)
    fill(other, 3, payload=b"another log")
    sealed(other, tmp_path / "other")
    (tmp_path / "checkpoints/3").write_bytes((tmp_path / "other/checkpoint").read_bytes())
    found = verified(log, tmp_path)
    assert (found.first_bad_file, "another log" in found.problem) == ("checkpoints/3", True)


def test_an_older_checkpoint_that_was_put_back_is_found(log: MemoryEventStore, tmp_path: Path) -> None:
    sealed_in_steps(log, log, tmp_path)
    (tmp_path / "checkpoint").write_bytes((tmp_path / "checkpoints/500").read_bytes())
    found = verified(log, tmp_path)
    assert (found.first_bad_file, "an older one" in found.problem) == ("checkpoint", True)


def test_a_checkpoint_under_another_name_is_found(log: MemoryEventStore, tmp_path: Path) -> None:
    sealed_in_steps(log, log, tmp_path)
    (tmp_path / "checkpoints/256").write_bytes((tmp_path / "checkpoints/3").read_bytes())
    assert verified(log, tmp_path).first_bad_file == "checkpoints/256"


def test_what_came_after_the_seal_is_verified_by_the_chain_alone(log: MemoryEventStore, tmp_path: Path) -> None:
    fill(log, 10)
    sealed(log, tmp_path)
    fill(log, 5, first=11)
    found = verified(log, tmp_path)
    assert (found.verified, found.events, found.sealed) == (True, 15, 10)


@pytest.mark.parametrize("gapped", [False, True], ids=["contiguous", "gapped"])
@pytest.mark.parametrize(("length", "first_bad"), [(0, 1), (1, 2), (7, 8), (299, 300)])
def test_a_log_cut_short_together_with_its_commits_is_found(
    length: int, first_bad: int, gapped: bool, tmp_path: Path
) -> None:
    sealed(GappedStore(memory_log(300)) if gapped else memory_log(300), tmp_path)
    inner = memory_log(length)
    found = verified(GappedStore(inner) if gapped else inner, tmp_path)
    expected = (first_bad - 1) * GappedStore.STEP + 1 if gapped else first_bad
    assert (found.verified, found.first_bad_position) == (False, expected)
    assert "cut short" in found.problem


@pytest.mark.parametrize("gapped", [False, True], ids=["contiguous", "gapped"])
@pytest.mark.parametrize("place", [1, 2, 257, 300])
def test_a_log_that_was_written_anew_with_its_whole_chain_is_found(place: int, gapped: bool, tmp_path: Path) -> None:
    sealed(GappedStore(memory_log(300)) if gapped else memory_log(300), tmp_path)
    inner = memory_log(place - 1)
    fill(inner, 1, first=place, payload=b"another")
    fill(inner, 300 - place, first=place + 1)
    found = verified(GappedStore(inner) if gapped else inner, tmp_path)
    assert (found.verified, found.first_bad_position) == (False, place * (GappedStore.STEP if gapped else 1))
    assert "sealed" in found.problem


def test_a_wrong_tile_is_found_by_the_span_that_needs_it(log: MemoryEventStore, tmp_path: Path) -> None:
    sealed_in_steps(log, log, tmp_path)
    path = tmp_path / "tile/0/001"
    path.write_bytes(flipped(path.read_bytes(), 40))
    found = verified(log, tmp_path, Span(Position(1), Position(10)))
    assert (found.verified, found.first_bad_file) == (True, "")
    found = verified(log, tmp_path, Span(Position(260), Position(270)))
    assert not found.verified


def test_a_log_without_chain_and_seal_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(RuleViolated, match="audit seal"):
        verify(GappedStore(memory_log(3)))
    with pytest.raises(NotFound, match="nothing was sealed"):
        verified(memory_log(3), tmp_path)


def test_what_is_wrong_with_the_log_comes_before_what_is_wrong_with_the_seal(
    log: MemoryEventStore, tmp_path: Path
) -> None:
    sealed_in_steps(log, log, tmp_path)
    (tmp_path / "checkpoint").write_bytes(b"")
    object.__setattr__(log._events[41], "payload", b"changed")
    found = verified(log, tmp_path)
    assert (found.first_bad_position, found.first_bad_file) == (42, "")


@pytest.fixture(scope="module")
def sqlite_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    store = SqliteEventStore(folder / "log.db", CLOCK)
    fill(store, 12)
    sealed(store, folder / "audit")
    store.close()
    return folder


@pytest.mark.parametrize(
    "column",
    ["first_position", "category_id", "stream_id", "first_version", "type", "schema_version", "recorded_at_us"],
)
def test_every_turned_bit_of_what_events_share_is_found_at_the_first_of_them(column: str, sqlite_log: Path) -> None:
    """Every column of one segment, every byte of it (integers: every bit)."""
    assert flips_missed(sqlite_log, "segments", column, "first_position = 6", {6}) == []


@pytest.mark.parametrize(
    ("column", "bytes_an_event"), [("event_ids", 16), ("leaves", 32), ("payload_ends", 4), ("payloads", None)]
)
def test_every_turned_bit_of_an_event_is_found_at_its_position(
    column: str, bytes_an_event: int | None, sqlite_log: Path
) -> None:
    """The second event of a segment of several: every byte of what it has in its blobs."""
    begin, end = bytes_of(sqlite_log, column, bytes_an_event)
    assert flips_missed(sqlite_log, "segments", column, "first_position = 6", {7}, range(begin, end)) == []


def bytes_of(folder: Path, column: str, bytes_an_event: int | None) -> tuple[int, int]:
    """Where the second event of the segment at position 6 stands in a blob."""
    with closing(sqlite3.connect(folder / "log.db")) as connection:
        (ends,) = connection.execute("SELECT payload_ends FROM segments WHERE first_position = 6").fetchone()
    assert len(ends) >= 12, "the segment has several events"
    if bytes_an_event:
        return bytes_an_event, 2 * bytes_an_event
    return int.from_bytes(ends[:4]), int.from_bytes(ends[4:8])


@pytest.mark.parametrize("column", ["root", "chain", "first_position", "last_position"])
def test_every_turned_bit_of_a_commit_is_found_at_its_position(column: str, sqlite_log: Path) -> None:
    """Commits are found by their last position: one that moves in front of others is missed where it stands then."""
    positions = {1, 6, 11} if column == "last_position" else {6}
    assert flips_missed(sqlite_log, "commits", column, "first_position = 6", positions) == []


def flips_missed(
    folder: Path, table: str, column: str, where: str, positions: set[int], places: range | None = None
) -> list[object]:
    """The values that the column was changed to, one bit each, without verification finding it at a position."""
    missed: list[object] = []
    with closing(sqlite3.connect(folder / "log.db")) as connection:
        (original,) = connection.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchone()
        (row,) = connection.execute(f"SELECT rowid FROM {table} WHERE {where}").fetchone()
        for value in one_bit_away(original, places):
            try:
                row = changed(connection, table, column, value, row)
            except sqlite3.IntegrityError:
                continue
            store = ReadOnlySqliteEventStore(folder / "log.db")
            results = [verified(store, folder / "audit", span) for span in (WHOLE, Span(Position(6)))]
            missed += [(value, each) for each in results if each.first_bad_position not in positions]
            store.close()
            row = changed(connection, table, column, original, row)
    return missed


ROW_IDS = {"segments": "first_position", "commits": "last_position"}


def changed(connection: sqlite3.Connection, table: str, column: str, value: object, row: int) -> int:
    """Change a value; the row's id afterwards, which is the position where that is what was changed."""
    with connection:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))
    is_row_id = column == ROW_IDS[table]
    return int(value) if is_row_id and isinstance(value, int) else row


def one_bit_away(original: object, places: range | None = None) -> list[object]:
    if isinstance(original, int):
        return [original ^ (1 << bit) for bit in range(63)]
    if isinstance(original, str):
        content = original.encode()
        return [flipped(content, place).decode() for place in range(len(content))]
    assert isinstance(original, bytes)
    return [flipped(original, place) for place in places or range(len(original))]


def test_the_key_is_needed() -> None:
    assert SealedFolder(Path("nowhere")).newest((KEY.verifier,)) is None
