"""A log that moved from one KurrentDB to another has other positions: it is sealed on, exported and taken over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.eventstore.archive.check import check_archive
from services.eventstore.archive.exporting import Span as Part
from services.eventstore.audit.sealed_log import SealedLog
from services.eventstore.audit.verify import Span
from services.eventstore.event import BEGINNING, Position, StreamName
from services.eventstore.kurrentdb import restore as restoring
from services.eventstore.kurrentdb.read_only import ReadOnlyKurrentEventStore
from services.eventstore.kurrentdb.store import KurrentEventStore
from services.eventstore.memory import MemoryEventStore
from services.kernel.errors import Conflict, Corrupt
from tests.archives import all_events, archive_of, leaves, lines
from tests.audit_room import CLOCK, KEYS, fill, memory_log, sealed, verified
from tests.kurrentdb_server import EventLog, KurrentServer

COUNT = 40


def taken_over(store: KurrentEventStore, origin: MemoryEventStore) -> None:
    store.restore(all_events(origin), origin.read_commits(after=BEGINNING))


@pytest.fixture
def origin() -> MemoryEventStore:
    return memory_log(COUNT)


@pytest.fixture
def server() -> Iterator[KurrentServer]:
    with KurrentServer(log=EventLog(system_event_every=3)) as started:
        yield started


@pytest.fixture
def new(server: KurrentServer) -> Iterator[KurrentEventStore]:
    """Empty, and its positions will be others: the server writes more events of its own."""
    store = KurrentEventStore(server.url, CLOCK)
    yield store
    store.close()


@pytest.fixture
def folder(origin: MemoryEventStore, tmp_path: Path) -> Path:
    """What was sealed of the log on the server before."""
    with KurrentServer() as server:
        old = KurrentEventStore(server.url, CLOCK)
        taken_over(old, origin)
        sealed(old, tmp_path)
        old.close()
    return tmp_path


def positions(store: KurrentEventStore) -> list[Position]:
    return [event.position for event in all_events(store)]


def test_it_is_sealed_on_into_the_same_folder(new: KurrentEventStore, origin: MemoryEventStore, folder: Path) -> None:
    taken_over(new, origin)
    assert sealed(new, folder).size == COUNT
    fill(new, 7, first=COUNT + 1)
    assert sealed(new, folder).size == COUNT + 7
    for first in positions(new):
        found = verified(new, folder, Span(first))
        assert found.verified, found.problem


def test_another_log_on_another_server_is_refused(new: KurrentEventStore, folder: Path) -> None:
    taken_over(new, memory_log(12))
    fill(new, COUNT, first=13, payload=b"another")
    with pytest.raises(Corrupt, match="nothing was signed") as alarm:
        sealed(new, folder)
    assert alarm.value.metadata["first_bad_position"] == str(positions(new)[12])


def test_a_part_cannot_be_verified_before_it_is_sealed_once(
    new: KurrentEventStore, origin: MemoryEventStore, folder: Path
) -> None:
    taken_over(new, origin)
    told = [verified(new, folder, Span(first)) for first in positions(new)]
    assert {(found.verified, found.first_bad_file) for found in told} == {(False, "positions")}
    assert all("seal" in found.problem for found in told)
    assert "of another store" in told[-1].problem
    assert verified(new, folder).first_bad_file == "positions"


def test_what_is_sealed_is_found_by_its_position_only_where_it_stands(
    new: KurrentEventStore, origin: MemoryEventStore, folder: Path
) -> None:
    taken_over(new, origin)
    opened = SealedLog.opened(new, folder, KEYS)
    kept = opened.positions.kept_from(0, COUNT)
    with pytest.raises(Corrupt, match="seal it once more"):
        opened.end_before(kept[20])


def test_an_export_begins_behind_any_number(new: KurrentEventStore, origin: MemoryEventStore) -> None:
    taken_over(new, origin)
    stand = positions(new)
    for after in sorted({max(0, stands + step) for stands in stand[:-1] for step in (-1, 0, 1)}):
        archive = archive_of(new, Part(Position(after)))
        found = check_archive(lines(archive))
        assert found.verified, found.problem
        assert found.events == len([position for position in stand if position > after])


def test_of_two_imports_at_once_one_is_told_of_the_other(
    new: KurrentEventStore, origin: MemoryEventStore, server: KurrentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = KurrentEventStore(server.url, CLOCK)
    current_version = restoring._current_version

    def after_the_other(log: ReadOnlyKurrentEventStore, stream: StreamName) -> int:
        monkeypatch.setattr(restoring, "_current_version", current_version)
        taken_over(other, origin)
        return current_version(log, stream)

    monkeypatch.setattr(restoring, "_current_version", after_the_other)
    with pytest.raises(Conflict, match="another import") as refused:
        taken_over(new, origin)
    assert refused.value.reason == "LOG_DIFFERS"
    taken_over(new, origin)
    assert leaves(new) == leaves(origin)
    other.close()
