"""Which files can be imported, and how they are recognised."""

import gzip
import os

import pytest

from services.cli.importing.mapping import parse_mapping
from services.cli.importing.refusal import FileRefused
from services.cli.importing.usage_file import open_usage_file

MAPPING = {"source": "{file}", "id": "{row}", "type": "t", "subject": "s", "time": {"column": "At"}}
CSV = b"At,n\n2023-11-16,1\n"
NDJSON = b'{"At": "2023-11-16", "n": 1}\n'


def rows_of(path, **changes):
    mapping = parse_mapping({**MAPPING, **changes})
    with open_usage_file(path, mapping) as file:
        return [dict(row.columns) for row in file.rows(mapping)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("usage.csv", CSV),
        ("USAGE.CSV", CSV),
        ("usage.csv.gz", gzip.compress(CSV)),
        ("usage.csv", gzip.compress(CSV)),
        ("usage.csv.gz", CSV),
        ("usage.csv", gzip.compress(CSV[:8]) + gzip.compress(CSV[8:])),
        ("usage.ndjson", NDJSON),
        ("usage.jsonl.gz", gzip.compress(NDJSON)),
    ],
    ids=["csv", "capitals", "gzip", "gzip in disguise", "no gzip", "gzip in two members", "ndjson", "jsonl and gzip"],
)
def test_the_name_tells_the_format_and_the_content_whether_it_is_compressed(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert rows_of(tmp_path / name) == [{"At": "2023-11-16", "n": "1"}]


def test_the_mapping_overrules_the_name(tmp_path):
    (tmp_path / "usage.log").write_bytes(NDJSON)
    assert rows_of(tmp_path / "usage.log", format="ndjson") == [{"At": "2023-11-16", "n": "1"}]


def test_a_name_that_says_nothing_is_refused(tmp_path):
    (tmp_path / "usage.txt").write_bytes(CSV)
    with pytest.raises(FileRefused, match="set `format` in the mapping"):
        rows_of(tmp_path / "usage.txt")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileRefused, match="no file"):
        rows_of(tmp_path / "usage.csv")


def test_a_folder_or_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    for name in ("pipe.csv", "folder.csv"):
        with pytest.raises(FileRefused, match="is no file"):
            rows_of(tmp_path / name)


def test_reading_ends_at_the_size_of_the_file(tmp_path):
    (tmp_path / "usage.csv.gz").write_bytes(gzip.compress(CSV + b"2023-11-17,2\n" * 50_000))
    mapping = parse_mapping(MAPPING)
    with open_usage_file(tmp_path / "usage.csv.gz", mapping) as file:
        assert len(list(file.rows(mapping))) == 50_001
        assert file.read_bytes == file.size_bytes
