"""Parquet files: a mapping makes of a row what it makes of the same row in a CSV file."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from meterlog.client.testing import IngestInMemory
from services.cli.importing.command import import_usage
from services.cli.importing.refusal import FileRefused, MappingRefused

MAPPING = """
source: "{file}"
id: "{kind}-{row}"
type: storage
subject: "tenant-{row % 2}"
time: {column: at, zone: Europe/Berlin}
value: "{amount}"
properties:
  region: "{place.region}"
  size: {number: "{size}"}
"""
NOON = datetime(2026, 1, 31, 12, 0, 0, 250, tzinfo=UTC)
COLUMNS = {
    "kind": ["a", "b"],
    "at": [NOON, NOON],
    "amount": pa.array([Decimal("12.500"), Decimal("0.000000000001")], pa.decimal128(38, 12)),
    "place": [{"region": "eu"}, {"region": None}],
    "size": [7, 8],
}


class Desk:
    """A folder with a mapping, from which Parquet files are imported."""

    def __init__(self, folder, ingest):
        self.folder = folder
        self.ingest = ingest
        (folder / "mapping.yaml").write_text(MAPPING)

    def imports(self, name="usage.parquet", **columns):
        pq.write_table(pa.table({**COLUMNS, **columns}), self.folder / name)
        mapping = self.folder / "mapping.yaml"
        return import_usage(self.folder / name, mapping, address=self.ingest.address, var=self.folder / "var")


@pytest.fixture
def desk(tmp_path):
    with IngestInMemory() as ingest:
        yield Desk(tmp_path, ingest)


def test_rows_become_usage_events_exactly(desk):
    summary = desk.imports()
    first, second = desk.ingest.recorded
    assert summary.recorded == 2
    assert (first.source, first.id, first.type, first.subject) == ("usage.parquet", "a-0", "storage", "tenant-0")
    assert (first.value, second.value) == ("12.5", "0.000000000001")
    assert dict(first.properties) == {"region": "eu", "size": "7"}
    assert dict(second.properties) == {"size": "8"}
    assert first.time.ToJsonString() == "2026-01-31T12:00:00.000250Z"
    assert desk.imports().duplicate == 2


def test_a_parquet_file_is_known_by_its_content(desk):
    assert desk.imports("usage.dump").recorded == 2


@pytest.mark.parametrize(
    ("at", "instant"),
    [
        (pa.array([date(2026, 7, 1)] * 2).cast(pa.timestamp("ms")), "2026-06-30T22:00:00Z"),
        (pa.array([date(2026, 7, 1)] * 2), "2026-06-30T22:00:00Z"),
        (pa.array(["2026-07-01T00:00:00+05:45"] * 2), "2026-06-30T18:15:00Z"),
        (pa.array([1_782_864_000_000_000_999] * 2).cast(pa.timestamp("ns", "UTC")), "2026-07-01T00:00:00Z"),
    ],
    ids=["wall clock", "day", "text", "nanoseconds"],
)
def test_times_of_every_kind_are_instants_of_the_mappings_zone(desk, at, instant):
    desk.imports(at=at)
    assert desk.ingest.recorded[0].time.ToJsonString() == instant


def test_rows_that_cannot_be_used_are_told_by_number_and_the_rest_is_recorded(desk):
    summary = desk.imports(
        kind=["a", None, "c", "d"],
        at=["2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", "noon", "2026-01-31T12:00:00Z"],
        amount=["1", "2", "3", "1e5"],
        place=[{"region": "eu"}] * 4,
        size=[1, 2, 3, 4],
    )
    assert [(each.line, each.field, each.reason) for each in summary.problems] == [
        (2, "id", "COLUMN_MISSING"),
        (3, "time", "BAD_TIME"),
        (4, "value", "NOT_A_DECIMAL"),
    ]
    assert (summary.recorded, summary.invalid) == (1, 3)


def test_floating_point_is_refused_because_it_is_not_exact(desk):
    with pytest.raises(FileRefused, match='"amount" holds floating point') as refused:
        desk.imports(amount=[0.1, 0.2])
    assert refused.value.reason == "FLOAT_COLUMN"


def test_a_column_that_is_missing_or_of_no_use_is_named(desk):
    with pytest.raises(FileRefused, match=r'no column "place\.region"'):
        desk.imports(place=["eu", "us"])
    with pytest.raises(FileRefused, match='"size" holds list'):
        desk.imports(size=[[1], [2]])


def test_a_damaged_file_is_refused(desk):
    (desk.folder / "usage.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(FileRefused, match="is no Parquet file"):
        import_usage(
            desk.folder / "usage.parquet", desk.folder / "mapping.yaml", address=desk.ingest.address, var=desk.folder
        )


def test_a_parquet_file_without_a_mapping_says_that_it_needs_one(desk):
    desk.imports()
    with pytest.raises(MappingRefused, match="a parquet file needs --mapping"):
        import_usage(desk.folder / "usage.parquet", address=desk.ingest.address, var=desk.folder)
