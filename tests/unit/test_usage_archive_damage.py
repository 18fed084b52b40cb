"""The archive of usage when its files are damaged: answers stay right, and it is put right."""

from hashlib import sha256
from pathlib import Path

import pytest

from services.aggregator.archive.file_writer import footer_of
from services.aggregator.archive.reading import FileReader, Unreadable
from tests.aggregator_room import call
from tests.archive_room import EVERYTHING, open_archive
from tests.plain_usage import Event


def usage_of_three() -> list[Event]:
    return [call(1, region="eu"), call(2, subject="bob", region="us"), call(3, subject="cat")]


def test_a_footer_that_was_changed_is_noticed(tmp_path: Path) -> None:
    """A footer holds the bounds that row groups are left out by: a changed bound would make an answer short."""
    with open_archive(tmp_path) as room:
        room.record(usage_of_three())
        room.compact()
        (path,) = room.files()
        content = path.read_bytes()
        footer = footer_of(content)
        assert b"cat" in footer
        path.write_bytes(content[: -len(footer)] + footer.replace(b"cat", b"abc"))
        with pytest.raises(Unreadable, match="footer"):
            FileReader(room.open_folder()).read(
                room.archive.listing.files[0], EVERYTHING, ("id",), room.windows.position()
            )
        assert room.read() == room.read_log()
        assert list(room.archive.suspects) == room.listed()


@pytest.mark.parametrize("how", ["gone", "cut short", "emptied", "a bit changed"])
def test_a_damaged_file_is_answered_from_the_log_and_written_anew(tmp_path: Path, how: str) -> None:
    """openmeter #4902: no part of the storage is believed to hold what it does not hold."""
    with open_archive(tmp_path) as room:
        room.record([*usage_of_three(), call(-30)])
        room.record([call(30), call(1, value="9")])
        room.compact()
        broken = next(file for file in room.archive.listing.files if file.rows == 4)
        damage(room.path / broken.name, how)
        assert room.read() == room.read_log()
        assert list(room.archive.suspects) == [broken.name]
        assert "cannot be read" in room.archiver.problem()
        room.compact()
        assert room.archive.suspects == {}
        assert room.archiver.problem() == ""
        assert broken.name not in room.listed()
        assert room.archived_rows() == 6
        assert room.read() == room.read_log()


def test_damage_that_nobody_has_read_is_found_by_looking_at_every_file_in_turn(tmp_path: Path) -> None:
    with open_archive(tmp_path) as room:
        room.record([call(1), call(30), call(60)])
        room.compact()
        names = room.listed()
        path = room.path / names[1]
        content = path.read_bytes()
        path.write_bytes(content[:8] + bytes([content[8] ^ 1]) + content[9:])
        for _ in names:
            room.housekeeping.verify_one()
        assert list(room.archive.suspects) == [names[1]]
        room.housekeeping.repair()
        assert sha256(path.read_bytes()).digest() not in {file.sha256 for file in room.archive.listing.files}
        assert room.archived_rows() == 3


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    match how:
        case "gone":
            path.unlink()
        case "cut short":
            path.write_bytes(content[:-20])
        case "emptied":
            path.write_bytes(bytes(len(content)))
        case _:
            path.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
