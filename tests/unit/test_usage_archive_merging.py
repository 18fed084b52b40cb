"""Files of the archive are merged a few rows at a time, and what comes out is what went in, in order."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from errno import ENOSPC
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.aggregator.archive import file_writer, merging, time_cut, writing
from services.aggregator.archive.archived_file import ArchivedFile, Span
from services.aggregator.archive.file_writer import FileWriter
from services.aggregator.archive.folder import ArchiveFolder
from services.aggregator.archive.merging import merge_files
from services.aggregator.archive.new_file import NewLocalFile
from services.aggregator.archive.reading import FileReader, Unreadable
from services.aggregator.archive.restraint import Unrestrained
from services.aggregator.archive.sorted_file import require_sound
from services.aggregator.archive.taking import Pool
from services.aggregator.archive.time_cut import DAY_US, Stretch
from services.aggregator.archive.writing import write_pool
from services.aggregator.usage.archived_usage import EARLIEST_US, LATEST_US
from services.aggregator.usage.usage_reading import Extent
from services.eventstore.event import Position
from services.eventstore.usage_batch import TEXT, VALUE
from services.kernel.errors import Unavailable

DAY = 19_700
ORDER = ("subject", "at_us", "position", "row")


def pool(number: int, subjects: Sequence[str], at_us: Sequence[int], **properties: Sequence[str | None]) -> Pool:
    """Usage of one batch at log position `number` + 1."""
    size = len(subjects)
    columns = {
        "at_us": pa.array(at_us, pa.int64()),
        "position": pa.array([number + 1] * size, pa.int64()),
        "row": pa.array(range(size), pa.int64()),
        "recorded_at_us": pa.array([7] * size, pa.int64()),
        "source": pa.array(["test"] * size, pa.utf8()).dictionary_encode(),
        "type": pa.array(["call"] * size, pa.utf8()).dictionary_encode(),
        "subject": pa.array(subjects, pa.utf8()).dictionary_encode(),
        "id": pa.array([f"{number}-{row}" for row in range(size)], pa.utf8()),
        "value": pa.array([Decimal(row) for row in range(size)]).cast(VALUE),
    }
    for key, texts in properties.items():
        columns[f"p.{key}"] = pa.array(texts, pa.utf8()).dictionary_encode().cast(TEXT)
    return Pool(pa.table(columns), Span(Position(number), Position(number + 1), b"leaf %d" % number), size)


@contextmanager
def place() -> Iterator[tuple[ArchiveFolder, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        yield ArchiveFolder.open(Path(folder).as_uri(), "url"), Path(folder)


def written(folder: ArchiveFolder, pools: Sequence[Pool]) -> list[ArchivedFile]:
    return [file for each in pools for file in write_pool(folder, "log", each, Unrestrained())]


def merged(folder: ArchiveFolder, files: Sequence[ArchivedFile]) -> list[ArchivedFile]:
    return merge_files(folder, "log", files, Unrestrained())


def plain_rows(path: Path, files: Sequence[ArchivedFile]) -> list[dict[str, Any]]:
    """All rows, with their properties wherever they lie, file by file."""
    found = []
    for file in files:
        for row in pq.read_table(path / file.name).to_pylist():
            others = {f"p.{key}": text for key, text in row.pop("others", None) or ()}
            found.append({name: value for name, value in (row | others).items() if value is not None})
    return found


def row_group_rows(path: Path, file: ArchivedFile) -> list[int]:
    """How many usage events each row group of a file has."""
    metadata = pq.read_metadata(path / file.name)
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def place_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ORDER)


instants = st.one_of(st.just(DAY * DAY_US), st.integers(0, 3 * DAY_US - 1).map(lambda us: DAY * DAY_US + us))
usage = st.tuples(
    st.sampled_from(["ann", "ann-b", "bob", "ä", "𝄞", "zoë"]),
    instants,
    st.tuples(*[st.sampled_from([None, "x", "y"])] * 3),
)
batches = st.lists(st.lists(usage, min_size=1, max_size=12), min_size=2, max_size=5)


@settings(max_examples=20, deadline=None)
@given(
    batches=batches, rows_min=st.integers(1, 5), group_rows=st.integers(1, 7), columns_max=st.sampled_from([1, 2, 9])
)
def test_what_is_merged_holds_each_usage_event_once_and_in_order(
    batches: list[list[Any]], rows_min: int, group_rows: int, columns_max: int
) -> None:
    pools = []
    for number, batch in enumerate(batches):
        keys = "abc"[: 1 + number % 3]
        texts = {key: [properties[place] for _, _, properties in batch] for place, key in enumerate(keys)}
        pools.append(pool(number, [each[0] for each in batch], [each[1] for each in batch], **texts))
    with (
        place() as (folder, path),
        patch.object(merging, "READ_ROWS_MIN", rows_min),
        patch.object(merging, "READ_BYTES_MAX", 0),
        patch.object(merging, "ROW_GROUP_ROWS", group_rows),
        patch.object(file_writer, "ROW_GROUP_ROWS", group_rows),
        patch.object(writing, "HELD_ROWS_MAX", group_rows + 1),
        patch("services.aggregator.archive.rows.COLUMNS_MAX", columns_max),
    ):
        with patch.object(time_cut, "FILES_MAX", 0):
            files = written(folder, pools)
        found = merged(folder, files)
        rows = plain_rows(path, found)
        assert sorted(rows, key=place_of) == sorted(plain_rows(path, files), key=place_of)
        for file in found:
            of_file = plain_rows(path, [file])
            assert [place_of(row) for row in of_file] == sorted(place_of(row) for row in of_file)
            assert all(file.start_us <= row["at_us"] < file.end_us for row in of_file)
            assert (file.rows, file.size) == (len(of_file), (path / file.name).stat().st_size)
            assert (file.after, file.until, file.leaf) == (0, len(pools), pools[-1].span.leaf)
            assert all(row_group_rows(path, file)), "a row group without rows has no bounds"
            require_sound(folder, file, Unrestrained())
        assert {file.end_us - file.start_us for file in found} == {DAY_US}


def test_a_day_whose_usage_fills_its_row_groups_can_be_read_when_other_days_went_on() -> None:
    """Ann has usage on the first day only: of the rows behind hers, that day gets none."""
    days = [DAY * DAY_US] * 4 + [(DAY + 1) * DAY_US] * 4
    with (
        place() as (folder, path),
        patch.object(merging, "READ_ROWS_MIN", 2),
        patch.object(merging, "READ_BYTES_MAX", 0),
        patch.object(merging, "ROW_GROUP_ROWS", 4),
        patch.object(file_writer, "ROW_GROUP_ROWS", 4),
    ):
        with patch.object(time_cut, "FILES_MAX", 0):
            files = written(folder, [pool(number, ["ann"] * 4 + ["bob"] * 4, days) for number in range(2)])
        found = merged(folder, files)
        assert [row_group_rows(path, file) for file in found] == [[4, 4], [4, 4]]
        assert [rows_read(folder, file) for file in found] == [8, 8]


def test_a_row_group_without_rows_is_no_harm() -> None:
    with place() as (folder, path), patch.object(FileWriter, "add", FileWriter._write):
        usage = pool(0, ["ann", "bob"], [DAY * DAY_US] * 2).rows
        assert usage is not None
        stretch, span = Stretch(DAY * DAY_US, (DAY + 1) * DAY_US), Span(Position(0), Position(1), b"leaf")
        writer = FileWriter(folder, "log", span, stretch, usage.schema, Unrestrained())
        for rows in (usage.slice(0, 1), usage.slice(0, 0), usage.slice(1)):
            writer.add(rows)
        file = writer.finish()
        assert row_group_rows(path, file) == [1, 0, 1]
        assert rows_read(folder, file) == 2


def rows_read(folder: ArchiveFolder, file: ArchivedFile) -> int:
    usage = FileReader(folder).read(file, Extent(EARLIEST_US, LATEST_US), ["subject"], Position(99))
    return 0 if usage is None else int(usage.num_rows)


class Watched:
    """A restraint that looks how much memory Arrow holds whenever it is asked."""

    def __init__(self) -> None:
        self.before = pa.total_allocated_bytes()
        self.most = 0

    def rest(self) -> None:
        self.most = max(self.most, pa.total_allocated_bytes() - self.before)


def test_memory_does_not_grow_with_what_is_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds a row group of each file, however many the files have."""
    monkeypatch.setattr(merging, "READ_BYTES_MAX", 256 * 1024)
    monkeypatch.setattr(merging, "ROW_GROUP_ROWS", 1_024)
    monkeypatch.setattr(file_writer, "ROW_GROUP_ROWS", 1_024)
    few, many = memory_to_merge(row_groups=3), memory_to_merge(row_groups=24)
    assert 0 < few < many < 2 * few


def memory_to_merge(row_groups: int) -> int:
    """The most that Arrow holds while four files of so many row groups are merged, in bytes."""
    rows = row_groups * 1_024
    chance = np.random.default_rng(1)
    with place() as (folder, _):
        files = []
        for number in range(4):
            subjects = [f"customer-{each:03d}" for each in chance.integers(0, 100, rows).tolist()]
            files += written(
                folder, [pool(number, subjects, (DAY * DAY_US + chance.integers(0, DAY_US, rows)).tolist())]
            )
        watched = Watched()
        (file,) = merge_files(folder, "log", files, watched)
        assert file.rows == 4 * rows
        return watched.most


def test_a_row_group_holds_only_the_texts_that_it_uses() -> None:
    """Parquet stores whole dictionaries: of a million customers, each row group would list all."""
    with place() as (folder, path), patch.object(file_writer, "ROW_GROUP_ROWS", 10):
        subjects = [f"customer-{number:03d}" for number in range(100)]
        (file,) = written(folder, [pool(0, subjects, [DAY * DAY_US] * 100, region=[None, "eu"] * 50)])
        parquet = pq.ParquetFile(path / file.name)
        for number in range(parquet.num_row_groups):
            rows = parquet.read_row_group(number)
            assert rows["subject"].chunk(0).dictionary.to_pylist() == subjects[10 * number : 10 * number + 10]
            assert rows["p.region"].to_pylist() == [None, "eu"] * 5


def test_a_file_that_turns_out_unreadable_leaves_nothing_behind() -> None:
    with place() as (folder, path):
        files = written(folder, [pool(number, ["ann"] * 9, [DAY * DAY_US] * 9) for number in range(3)])
        broken = path / files[1].name
        content = bytearray(broken.read_bytes())
        content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
        broken.write_bytes(content)
        with pytest.raises(Unreadable, match=files[1].name):
            merged(folder, files)
        assert len([each for each in path.rglob("*") if each.is_file()]) == 3


@pytest.mark.parametrize("written_max", [0, 4, 500, 3_000])
def test_a_full_disk_leaves_what_was_merged_as_it_is(monkeypatch: pytest.MonkeyPatch, written_max: int) -> None:
    left = written_max

    def write(file: NewLocalFile, content: bytes) -> None:
        nonlocal left
        left -= len(content)
        if left < 0:
            raise OSError(ENOSPC, "no space left on device")
        original(file, content)

    original = NewLocalFile.write
    with place() as (folder, path):
        files = written(folder, [pool(number, ["ann"] * 99, [DAY * DAY_US] * 99) for number in range(3)])
        with monkeypatch.context() as full:
            full.setattr(NewLocalFile, "write", write)
            with pytest.raises(Unavailable, match="no space left"):
                merged(folder, files)
        assert sorted(str(each.relative_to(path)) for each in path.rglob("*") if each.is_file()) == sorted(
            file.name for file in files
        )
        assert sum(file.rows for file in merged(folder, files)) == 3 * 99
