"""The archive of usage: what it holds, when it is believed, and what happens to its files."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import select, update

from services.aggregator.archive import housekeeping, taking
from services.aggregator.archive.file_writer import ROW_GROUP_ROWS
from services.aggregator.archive.folder import ArchiveFolder
from services.aggregator.archive.listing_rows import FILES, STATE
from services.aggregator.usage.archived_usage import EARLIEST_US
from services.aggregator.usage.usage_reading import Extent
from services.kernel.clock import epoch_us
from services.kernel.errors import InvalidInput, Unavailable
from services.projection.projection import RebuildMode
from tests.aggregator_room import DAY, Log, call
from tests.archive_room import EVERYTHING, WAIT_S, open_archive


def test_usage_is_archived_by_the_day_it_happened_whenever_it_was_recorded(tmp_path: Path) -> None:
    """openmeter #5005: usage of any age is kept, and found by the time it happened."""
    with open_archive(tmp_path) as room:
        room.record([call(1), call(26)])
        room.compact()
        room.record([call(2), call(-24 * 700)])
        room.compact()
        days = sorted({path.parent.name for path in room.files()})
        assert days == ["2022-05-01", "2024-03-31", "2024-04-01"]
        assert room.archived_rows() == 4
        assert room.read() == room.read_log()


def test_a_file_is_sorted_by_subject_and_time_and_says_where_it_comes_from(tmp_path: Path) -> None:
    with open_archive(tmp_path) as room:
        room.record([call(5, subject="bob"), call(3), call(3, value="2")])
        last = room.record([call(1, subject="bob", region="eu")])
        room.compact()
        (path,) = room.files()
        rows = pq.read_table(path).to_pylist()
        assert [(row["subject"], row["position"], row["row"]) for row in rows] == [
            ("ann", 1, 1),
            ("ann", 1, 2),
            ("bob", 2, 0),
            ("bob", 1, 0),
        ]
        assert rows[2] == {
            "at_us": epoch_us(DAY + timedelta(hours=1)),
            "position": 2,
            "row": 0,
            "recorded_at_us": epoch_us(room.clock.now()),
            "source": "test",
            "type": "call",
            "subject": "bob",
            "id": "0-1-0",
            "value": Decimal("1.000000000000"),
            "p.region": "eu",
        }
        notes = pq.read_metadata(path).metadata
        assert notes[b"meterlog.after"] == b"0"
        assert notes[b"meterlog.until"] == str(last).encode()
        assert bytes.fromhex(notes[b"meterlog.leaf"].decode()) == room.log.store.leaf_at(last)


def test_usage_behind_the_archive_is_read_from_the_log(tmp_path: Path) -> None:
    with open_archive(tmp_path) as room:
        room.record([call(1)])
        room.compact()
        room.record([call(2)])
        assert room.archived_rows() == 1
        assert len(room.read()) == 2
        assert len(room.read(until=room.archive.listing.position)) == 1


def test_a_file_that_holds_later_usage_says_nothing_of_it_to_an_earlier_question(tmp_path: Path) -> None:
    """openmeter #2191: an answer as of an instant counts nothing that was learned later."""
    with open_archive(tmp_path) as room:
        first = room.record([call(1)])
        room.record([call(1, value="5")])
        room.compact()
        assert [row["position"] for row in room.read(until=first)] == [first]


def test_a_pool_is_taken_in_parts_that_memory_can_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "POOL_ROWS_MAX", 4)
    with open_archive(tmp_path) as room:
        for number in range(5):
            room.record([call(number), call(number, subject="bob")])
        room.archive.open()
        positions = []
        while room.growth.archive_some():
            positions.append(room.archive.listing.position)
        assert positions == [2, 4, 5]
        assert room.read() == room.read_log()


def test_only_row_groups_that_can_hold_the_subject_are_read(tmp_path: Path) -> None:
    with open_archive(tmp_path) as room:
        for number in range(0, 3 * ROW_GROUP_ROWS, 8_192):
            room.log.record([call(1, subject=f"customer-{each:06d}") for each in range(number, number + 8_192)])
        room.catch_up()
        room.compact()
        (path,) = room.files()
        metadata = pq.read_metadata(path)
        assert metadata.num_row_groups == 3
        # Whatever belongs to the others is made unreadable; the size and the footer stay.
        content = bytearray(path.read_bytes())
        end = metadata.row_group(1).column(0).dictionary_page_offset or metadata.row_group(1).column(0).data_page_offset
        content[4:end] = bytes(end - 4)
        path.write_bytes(content)
        extent = Extent(EVERYTHING.start_us, EVERYTHING.end_us, ("customer-090000",))
        assert [row["subject"] for row in room.read(extent)] == ["customer-090000"]
        assert room.archive.suspects == {}


def test_more_property_keys_than_columns_are_kept_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.aggregator.archive.rows.COLUMNS_MAX", 2)
    keys = ["size", "region", "a.b", "a", "c"]
    columns = ("id", *(f"p.{key}" for key in keys), "p.missing")
    with open_archive(tmp_path) as room:
        room.record([call(1, **{key: f"{key}-1"}) for key in keys])
        room.compact()
        room.record([call(2, size="1", region="eu"), call(2, size="2"), call(3, **dict.fromkeys(keys, "all"))])
        room.compact()
        (kept,) = [path for path in room.files() if path.name in {Path(name).name for name in room.listed()}]
        assert sum(name.startswith("p.") for name in pq.read_schema(kept).names) == 2
        assert room.read(columns=columns) == room.read_log(columns=columns)
        assert room.archived_rows() == 8


def test_the_archive_is_level_with_the_tables_and_never_ahead_of_what_they_leave_out(tmp_path: Path) -> None:
    with open_archive(tmp_path) as room:
        assert not room.archive.is_open
        room.record([call(1)])
        assert len(room.read()) == 1, "an archive that was not opened yet gives nothing"
        room.compact()
        assert room.archive.listing.position == room.windows.position()


def test_an_archive_outlives_the_tables_that_are_folded_anew(tmp_path: Path) -> None:
    with open_archive(tmp_path) as room:
        room.record([call(1), call(2)])
        room.compact()
        listed = room.listed()
        assert room.windows.rebuild(mode=RebuildMode.REPLACE, progress=lambda _: None).is_swapped
        assert room.compact() == 0
        assert room.listed() == listed
        assert room.read() == room.read_log()


def test_a_restarted_archiver_goes_on_from_what_is_listed(tmp_path: Path) -> None:
    log = Log()
    with open_archive(tmp_path, log) as room:
        room.record([call(1)])
        room.compact()
    with open_archive(tmp_path, log, url=room.url) as room:
        room.record([call(2)])
        room.archive.open()
        assert room.archived_rows() == 1
        room.compact()
        assert room.archived_rows() == 2


def test_the_archive_of_another_log_is_dropped_and_begun_anew(tmp_path: Path) -> None:
    with open_archive(tmp_path) as room:
        room.record([call(4)])
        room.compact()
        forged = room.archive.listing
        with room.database.write() as connection:
            connection.execute(update(STATE).values(leaf=b"of another log"))
        room.archive.open()
        room.another_archiver().bring_up_to_date(WAIT_S)
        assert room.archive.listing.leaf == forged.leaf
        assert {file.name for file in room.archive.listing.files}.isdisjoint(file.name for file in forged.files)
        assert room.read() == room.read_log()


def test_files_that_were_never_listed_are_swept_away(tmp_path: Path) -> None:
    log = Log()
    with open_archive(tmp_path, log) as room:
        room.record([call(1)])
        room.compact()
        (kept,) = room.files()
    orphan, draft = kept.with_name("x.parquet"), kept.with_name("y.parquet.new")
    foreign = kept.parent.parent.parent / "log-ffffffffffffffff" / "2024-03-31" / "z.parquet"
    foreign.parent.mkdir(parents=True)
    for path in (orphan, draft, foreign):
        path.write_bytes(b"left by a process that was killed")
    with open_archive(tmp_path, log, url=room.url) as room:
        room.compact()
        assert set(room.files()) == {kept, foreign}, "what another log has in the same place is not ours"


def test_a_file_that_was_replaced_can_be_read_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_archive(tmp_path) as room:
        room.record([call(1)])
        room.compact()
        room.record([call(2)])
        room.archive.open()
        room.growth.archive_some()
        view = room.archive.view()
        assert room.compact() == 2
        assert len(room.files()) == 3
        assert sum(each.num_rows for each in view.tables(EVERYTHING, ("id",), room.windows.position())) == 2
        monkeypatch.setattr(housekeeping, "REMOVED_GRACE_S", -1.0)
        room.housekeeping.delete_removed()
        assert [path.name for path in room.files()] == [Path(name).name for name in room.listed()]
        with room.database.read() as connection:
            assert connection.execute(select(FILES.c.name)).scalars().all() == room.listed()
        # Who still reads by the old list finds the files gone, and what they held is a gap.
        assert list(view.tables(EVERYTHING, ("id",), room.windows.position())) == []
        assert [(gap.after, gap.until) for gap in view.gaps(room.windows.position())] == [(0, 1), (1, 2)]


def test_days_that_are_not_kept_are_read_from_the_log(tmp_path: Path) -> None:
    """killbill #876: how far back the archive reaches is a choice; what counts is not."""
    with open_archive(tmp_path, keep_days=62) as room:
        room.record([call(1), call(24), call(48)])
        room.compact()
        assert [path.parent.name for path in room.files()] == ["2024-03-31", "2024-04-01", "2024-04-02"]
        room.clock.advance(room.clock.now() + timedelta(days=1))
        assert room.compact() == 1
        assert room.archived_rows() == 2
        room.record([call(2), call(25)])
        room.compact()
        assert room.archived_rows() == 3, "late usage of a day that is not kept stays in the log"
        assert room.read() == room.read_log()


def test_when_more_days_are_kept_than_before_they_come_back(tmp_path: Path) -> None:
    with open_archive(tmp_path, keep_days=1) as room:
        room.record([call(1)])
        room.compact()
        assert room.archived_rows() == 0
        room.another_archiver(keep_days=None).bring_up_to_date(WAIT_S)
        assert room.archive.listing.first_us == EARLIEST_US
        assert room.archived_rows() == 1


def test_an_archive_that_cannot_be_written_changes_nothing_and_goes_on_later(tmp_path: Path) -> None:
    with open_archive(tmp_path) as room:
        room.record([call(1)])
        room.path.write_text("no folder")
        with pytest.raises(Unavailable, match="cannot be written") as refusal:
            room.compact()
        assert refusal.value.reason == "ARCHIVE_NOT_WRITABLE"
        assert room.read() == room.read_log()
        room.path.unlink()
        room.compact()
        assert room.archived_rows() == 1


def test_a_place_that_is_none_is_refused_without_its_secret() -> None:
    for url in ("ftp://user:hunter2@host/x", "nonsense", "s3nope://hunter2@x"):
        with pytest.raises(InvalidInput) as refusal:
            ArchiveFolder.open(url, "METERLOG_ARCHIVE_URL")
        assert "hunter2" not in refusal.value.message
        assert refusal.value.field == "METERLOG_ARCHIVE_URL"


def test_an_object_store_s_place_is_shown_without_credentials() -> None:
    url = "s3://key:hunter2@bucket/usage?region=eu-west-1&endpoint_override=127.0.0.1"
    assert str(ArchiveFolder.open(url, "METERLOG_ARCHIVE_URL")) == "s3://bucket/usage"
