"""Two who may change one archive, each of whom takes itself for the only one: nothing is listed twice, or lost."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from services.aggregator.archive.compaction import Appetite
from services.aggregator.archive.growth import Growth
from services.aggregator.archive.housekeeping import Housekeeping
from services.aggregator.archive.usage_archive import UsageArchive
from services.kernel.errors import Conflict
from services.projection.database_url import TablesAddress
from tests.aggregator_room import DAY
from tests.archive_room import COLUMNS, EVERYTHING, ArchiveRoom, open_archive
from tests.databases import POSTGRES, tables_url
from tests.plain_usage import Event
from tests.projection_replicas_room import end_sessions_that_fold

HUNGRY = Appetite(2, (100, 400))


@pytest.fixture
def room(tmp_path: Path) -> Iterator[ArchiveRoom]:
    """Two files that can be merged."""
    with open_archive(tmp_path) as opened:
        opened.archive.open()
        for hour in range(2):
            archive_an_hour(opened, opened.growth, hour)
        yield opened


class Former:
    """One that led before, and knows what was listed then."""

    def __init__(self, room: ArchiveRoom) -> None:
        self.archive = UsageArchive(room.database, room.windows, room.open_folder())
        self.archive.open()
        self.growth = Growth(self.archive, room.log.store, room.windows)
        self.housekeeping = Housekeeping(self.archive, room.log.store, room.windows)


def archive_an_hour(room: ArchiveRoom, growth: Growth, hour: int) -> None:
    room.record([Event("call", "ann", DAY + timedelta(hours=hour), Decimal(1), {})])
    assert growth.archive_some()


def test_files_that_another_has_merged_are_not_merged_again(room: ArchiveRoom) -> None:
    former = Former(room)
    assert room.housekeeping.merge_some(HUNGRY) == 2
    with pytest.raises(Conflict, match="somebody else"):
        former.housekeeping.merge_some(HUNGRY)
    assert room.archived_rows() == 2
    assert Former(room).archive.listing.files == room.archive.listing.files


def test_usage_that_another_has_archived_is_not_archived_again(room: ArchiveRoom) -> None:
    former = Former(room)
    archive_an_hour(room, room.growth, 2)
    with pytest.raises(Conflict, match="somebody else"):
        former.growth.archive_some()
    assert room.read() == room.read_log()


def test_what_another_has_listed_since_is_not_swept_away(room: ArchiveRoom) -> None:
    former = Former(room)
    archive_an_hour(room, room.growth, 2)
    former.housekeeping.sweep()
    assert room.archived_rows() == 3
    assert not room.archive.suspects


def test_files_that_were_removed_can_be_read_when_another_begins_to_sweep(room: ArchiveRoom) -> None:
    view = room.archive.view()
    room.housekeeping.merge_some(HUNGRY)
    Former(room).housekeeping.sweep()
    assert sum(usage.num_rows for usage in view.tables(EVERYTHING, COLUMNS, room.windows.position())) == 2
    assert not room.archive.suspects


def test_who_lost_its_session_lists_nothing_before_it_has_read_what_is_listed_by_now(tmp_path: Path) -> None:
    url = tables_url(POSTGRES, tmp_path)
    with open_archive(tmp_path, url=url) as room:
        room.archive.open()
        archive_an_hour(room, room.growth, 0)
        address = TablesAddress.parse(url, "aggregator").conninfo
        with psycopg.connect(address, autocommit=True) as administrator:
            end_sessions_that_fold(administrator)
        room.record([Event("call", "ann", DAY, Decimal(1), {})])
        with pytest.raises(Conflict, match="somebody else"):
            room.growth.archive_some()
        room.archive.open()
        assert room.growth.archive_some()
        assert room.archived_rows() == 2
