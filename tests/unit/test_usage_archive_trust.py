"""The archive of usage leaves out what the tables leave out, grows by itself, and says where it stands."""

import threading
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from pyarrow import fs

from meterlog.aggregator.v1 import storage_pb2 as api
from services.aggregator.api.storage_archive import StorageArchive
from services.aggregator.archive import archiver, file_writer, housekeeping, usage_archive
from services.aggregator.archive.folder import ArchiveFolder
from services.aggregator.archive.retention import first_kept_us, parse_keep_days
from services.aggregator.archive.usage_archive import UsageArchive
from services.aggregator.usage.archived_usage import EARLIEST_US, NOTHING_ARCHIVED
from services.eventstore.event import NO_STREAM, NewEvent, Position, StreamName
from services.kernel.clock import monotonic_s
from services.kernel.errors import InvalidInput, RuleViolated, TimedOut, Unavailable
from services.kernel.failpoint import NAMES
from services.projection.skipping import Decision
from tests.aggregator_room import NOW, call
from tests.archive_room import WAIT_S, ArchiveRoom, open_archive

DECISION = Decision("twice by mistake", "Ada", "ops", NOW)
POLL_S = 0.01


def record_unknown(room: ArchiveRoom) -> Position:
    """Usage in a form that only a newer release knows."""
    unknown = NewEvent(uuid4(), "UsageRecorded", 99, b"of tomorrow")
    return room.log.store.append(StreamName("usage", "7"), [unknown], NO_STREAM).position


def test_nothing_behind_a_parked_event_is_archived_before_there_is_a_decision(tmp_path: Path) -> None:
    with open_archive(tmp_path) as room:
        room.record([call(1)])
        parked = record_unknown(room)
        room.record([call(2)])
        room.compact()
        assert room.archive.listing.position < parked
        assert room.read() == room.read_log()
        room.windows.skip(parked, DECISION)
        assert room.archive.view() is NOTHING_ARCHIVED, "until the archive knows of the decision"
        room.compact()
        assert room.archive.listing.position > parked
        assert room.archived_rows() == 2
        assert room.read() == room.read_log()


def test_an_archive_that_holds_what_is_to_be_left_out_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """openmeter #4902: two stores that disagree about what was seen; here one says so, and is put right."""
    with open_archive(tmp_path) as room:
        parked = record_unknown(room)
        room.record([call(1)])
        monkeypatch.setattr(room.windows, "is_whole", lambda: True)  # a release that did not know better
        room.archive.open()
        room.growth.archive_some()
        monkeypatch.undo()
        assert room.archive.listing.position > parked
        assert room.archive.view() is NOTHING_ARCHIVED
        assert room.read() == room.read_log()
        before = room.listed()
        room.windows.skip(parked, DECISION)
        room.compact()
        assert set(room.listed()).isdisjoint(before)
        assert room.read() == room.read_log()


def test_usage_is_archived_by_and_by_without_being_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiver, "LOOK_EVERY_S", POLL_S)
    monkeypatch.setattr(archiver, "ARCHIVE_BATCHES", 2)
    with open_archive(tmp_path) as room:
        room.archiver.start()
        room.record([call(1)])
        wait_until(lambda: room.archive.is_open)
        assert room.archive.listing.position == 0, "a little is left to the log for a while"
        last = room.record([call(2)])
        wait_until(lambda: room.archive.listing.position == last)
        monkeypatch.setattr(archiver, "ARCHIVE_AGE_S", 0.0)
        last = room.record([call(3)])
        wait_until(lambda: room.archive.listing.position == last)
        assert room.archiver.problem() == ""


def test_an_archive_that_failed_once_goes_on_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiver, "LOOK_EVERY_S", POLL_S)
    monkeypatch.setattr(archiver, "ARCHIVE_BATCHES", 1)
    with open_archive(tmp_path) as room:
        room.path.write_text("no folder")
        room.archiver.start()
        last = room.record([call(1)])
        wait_until(lambda: "cannot be" in room.archiver.problem())
        assert room.read() == room.read_log()
        room.path.unlink()
        wait_until(lambda: room.archive.listing.position == last)
        wait_until(lambda: room.archiver.problem() == "")


@pytest.mark.parametrize("point", sorted(name for name in NAMES if name.startswith("archive.")))
def test_an_error_at_any_step_leaves_an_archive_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    with open_archive(tmp_path) as room:
        room.record([call(1)])
        room.compact()
        room.record([call(2), call(30)])
        with monkeypatch.context() as patched:
            for module in (file_writer, usage_archive, housekeeping):
                patched.setattr(module, "fail_at", failing_at(point))
            with pytest.raises(Unavailable):
                room.compact()
            assert room.read() == room.read_log()
        room.compact()
        assert room.archived_rows() == 3
        assert room.read() == room.read_log()
        assert {path.relative_to(room.path).as_posix() for path in room.files()} == {
            *room.listed(),
            *room.archive.listing.removed,
        }


def failing_at(point: str) -> Callable[[str], None]:
    def pass_by(name: str) -> None:
        if name == point:
            raise Unavailable(name)

    return pass_by


def test_the_archive_says_where_it_stands(tmp_path: Path) -> None:
    with open_archive(tmp_path, keep_days=100) as room:
        face = StorageArchive(room.archiver)
        assert face.get(api.GetUsageArchiveRequest()).archive.problem == "it was not opened yet"
        room.record([call(1), call(30)])
        room.log.record([call(2)], partition="1")
        compacted = face.compact(api.CompactUsageArchiveRequest(), WAIT_S)
        assert compacted.removed_file_count == 0
        stands = face.get(api.GetUsageArchiveRequest()).archive
        assert stands == compacted.archive
        assert stands == api.UsageArchive(
            url=room.path.as_uri(),
            position=2,
            file_count=2,
            usage_event_count=3,
            size_bytes=sum(path.stat().st_size for path in room.files()),
            first_day="2024-02-22",
        )


def test_a_call_that_takes_too_long_says_so_and_may_be_repeated(tmp_path: Path) -> None:
    with open_archive(tmp_path) as room:
        room.record([call(1)])
        with pytest.raises(TimedOut):
            room.archiver.bring_up_to_date(0)
        room.compact()
        assert room.archived_rows() == 1


def test_an_archive_that_is_switched_off_says_so() -> None:
    face = StorageArchive(None)
    assert face.get(api.GetUsageArchiveRequest()).archive == api.UsageArchive()
    with pytest.raises(RuleViolated) as refusal:
        face.compact(api.CompactUsageArchiveRequest(), WAIT_S)
    assert refusal.value.reason == "ARCHIVE_OFF"


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline, pause = monotonic_s() + WAIT_S, threading.Event()
    while not is_so():
        assert monotonic_s() < deadline, "it never came about"
        pause.wait(POLL_S)


def test_an_object_store_holds_an_archive_as_a_folder_does(tmp_path: Path) -> None:
    with open_archive(tmp_path) as room:
        objects = ArchiveFolder(fs._MockFileSystem(), "bucket/usage", "s3://bucket/usage")
        room.archive = UsageArchive(room.database, room.windows, objects)
        room.archiver = room.another_archiver()
        room.record([call(1), call(30)])
        room.compact()
        room.record([call(2)])
        room.compact()
        assert room.archived_rows() == 3
        assert room.read() == room.read_log()
        assert objects.names("") == sorted([*room.listed(), *room.archive.listing.removed])
        assert room.files() == []


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "ALL", "", "9" * 30, "٣"])
def test_days_to_keep_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_keep_days(text, "METERLOG_ARCHIVE_KEEP_DAYS")
    assert refusal.value.field == "METERLOG_ARCHIVE_KEEP_DAYS"


def test_more_days_than_there_are_keep_everything() -> None:
    assert first_kept_us(NOW, 1_000_000) == EARLIEST_US
    assert first_kept_us(NOW, None) == EARLIEST_US
