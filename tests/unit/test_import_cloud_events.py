"""CloudEvents of a file: however they are laid out, each is read as it was written, recorded once, and told by line."""

import gzip
import io
import json

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterlog.client import RetryPolicy
from meterlog.client.testing import Fault, IngestInMemory
from services.cli.importing import cloud_event_batch, json_array
from services.cli.importing.cloud_event_rows import CloudEventRow, cloud_event_rows
from services.cli.importing.command import import_usage
from services.cli.importing.file_format import FileFormat
from services.cli.importing.refusal import FileRefused, ImportInterrupted
from services.cli.importing.web_request import WebLogOptions

QUICK = RetryPolicy(give_up_after_s=60.0, first_delay_s=0.001, delay_max_s=0.01)


def cloud_event(number, **data):
    return {
        "specversion": "1.0",
        "id": f"req-{number}",
        "source": "gateway-7",
        "type": "llm.completion",
        "subject": "acme",
        "time": "2026-01-31T12:00:00.123Z",
        "data": {"value": number, **data},
    }


EVENTS = [cloud_event(number) for number in range(1, 4)]
LAYOUTS = {
    "one a line": lambda events: "\n".join(map(json.dumps, events)),
    "one a line, with blank lines and Windows' ends": lambda events: "\r\n\r\n".join(map(json.dumps, events)) + "\r\n",
    "each over several lines": lambda events: "\n".join(json.dumps(event, indent=2) for event in events),
    "an array on one line": json.dumps,
    "an array over many lines": lambda events: json.dumps(events, indent="\t") + "\n",
    "an array after blanks": lambda events: "\n \n" + json.dumps(events),
    "an array with a byte order mark": lambda events: "\ufeff" + json.dumps(events),
    "lines with a byte order mark": lambda events: "\ufeff" + "\n".join(map(json.dumps, events)),
}

by_layout = pytest.mark.parametrize("layout", LAYOUTS)


def read(text):
    return list(cloud_event_rows(io.BufferedReader(io.BytesIO(text.encode() if isinstance(text, str) else text))))


def told(rows):
    """The ids of what was read, and the line and reason of what was not."""
    return [row.name.id if isinstance(row, CloudEventRow) else (row.problem.line, row.problem.reason) for row in rows]


@by_layout
def test_every_layout_holds_the_same_cloud_events(layout):
    rows = read(LAYOUTS[layout](EVENTS))
    assert [json.loads(row.text) for row in rows] == EVENTS
    assert [row.number for row in rows] == [0, 1, 2]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False).map(str) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    events=st.lists(st.dictionaries(st.text(), json_values, max_size=4), min_size=1, max_size=5),
    indent=st.sampled_from([None, 1, "\t"]),
    is_array=st.booleans(),
    piece=st.integers(1, 40),
)
def test_what_is_written_is_read_wherever_the_pieces_of_a_file_end(events, indent, is_array, piece):
    texts = [json.dumps(event, indent=indent, ensure_ascii=False) for event in events]
    written = f"[{','.join(texts)}]" if is_array else "\n".join(texts)
    whole, json_array.PIECE_BYTES = json_array.PIECE_BYTES, piece
    try:
        rows = read(written.encode("utf-8", "surrogatepass"))
    finally:
        json_array.PIECE_BYTES = whole
    assert [row.text for row in rows] == texts


def test_a_number_stays_the_text_that_was_written():
    written = '{"specversion": "1.0", "data": {"value": 0.1000000000000000055511151231257827, "n": 1e3}}'
    assert [row.text for row in read(written)] == [written] == [row.text for row in read(f"[{written}]")]


def test_a_line_that_is_no_json_stops_none_of_the_others():
    good = json.dumps(EVENTS[0])
    lines = [good, "no json", '{"id": "cut", ', good, '{"id": NaN}', "\x00", '"text"', '{"id":']
    rows = read("\n".join(lines))
    assert told(rows) == [
        *("req-1", (2, "BAD_JSON"), (3, "BAD_JSON"), "req-1", (5, "BAD_JSON"), (6, "NUL_BYTE"), "", (8, "BAD_JSON")),
    ]


def test_an_object_that_never_ends_is_not_waited_for():
    lines = ['{"id": "cut", '] * 500 + [json.dumps(EVENTS[0])]
    rows = told(read("\n".join(lines)))
    assert rows[-1] == "req-1"
    assert {each[1] for each in rows[:-1]} == {"BAD_JSON"}


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ('[{"id": "a"}, {"id": "b"}', ["a", "b", (1, "JSON_UNFINISHED")]),
        ('[{"id": "a"},\n {"id": ', ["a", (2, "BAD_JSON")]),
        ('[{"id": "a"}\n {"id": "b"}]', ["a", (2, "BAD_JSON")]),
        ('[{"id": "a"},]', ["a", (1, "BAD_JSON")]),
        ('[{"id": "a"}]\n[{"id": "b"}]', ["a", (2, "JSON_GOES_ON")]),
        ('[{"id": "a"}, NaN]', ["a", (1, "BAD_JSON")]),
        ("[" * 100_000, [(1, "BAD_JSON")]),
        (b'[{"id": "a"},\n{"id": "\xff"}]', ["a", (2, "NOT_UTF8")]),
        ("[1, [], {}]", ["", "", ""]),
    ],
)
def test_an_array_that_breaks_off_is_told_where(written, found, monkeypatch):
    monkeypatch.setattr(json_array, "PIECE_BYTES", 4)
    assert told(read(written)) == found


@pytest.mark.parametrize("written", ["", "\n\n", "[]", " [ ] "])
def test_a_file_without_cloud_events_is_refused(written):
    with pytest.raises(FileRefused, match="there is no CloudEvent"):
        read(written)


class Desk:
    """A folder from which files of CloudEvents are imported."""

    def __init__(self, folder):
        self.folder = folder

    def imports(self, ingest, content=None, name="events.json", **options):
        file = self.folder / name
        if content is not None:
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return import_usage(
            file, address=ingest.address, var=self.folder / "var", **{"retry": QUICK, "in_flight": 1, **options}
        )


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(cloud_event_batch, "BATCH_ROWS_MAX", 2)


@by_layout
def test_a_file_is_told_by_its_content_and_recorded_once(desk, layout, small_batches):
    with IngestInMemory() as ingest:
        first = desk.imports(ingest, LAYOUTS[layout](EVENTS), name="events")
        again = desk.imports(ingest, gzip.compress(LAYOUTS[layout](EVENTS).encode()), name="events.gz")
    assert (first.read, first.recorded, again.read, again.duplicate) == (3, 3, 3, 3)
    assert [(event.id, event.value) for event in ingest.recorded] == [("req-1", "1"), ("req-2", "2"), ("req-3", "3")]
    assert max(ingest.batches) == 2


def test_what_cannot_be_recorded_is_told_by_its_line(desk):
    nameless = json.dumps({**EVENTS[1], "id": ""})
    content = "\n".join([json.dumps(EVENTS[0]), "no json", nameless, json.dumps(cloud_event(1, region="eu"))])
    with IngestInMemory() as ingest:
        summary = desk.imports(ingest, content)
    assert (summary.recorded, summary.conflict, summary.invalid) == (1, 1, 2)
    assert [(problem.line, problem.reason) for problem in summary.problems] == [
        *((2, "BAD_JSON"), (3, "ID_EMPTY"), (4, "CONTENT_DIFFERS")),
    ]
    assert not summary.is_clean


def test_a_compressed_file_that_breaks_off_is_read_up_to_there(desk):
    content = gzip.compress("\n".join(json.dumps(cloud_event(number)) for number in range(5_000)).encode())
    with IngestInMemory() as ingest:
        summary = desk.imports(ingest, content[: len(content) // 2])
        with pytest.raises(FileRefused, match="broken from its beginning"):
            desk.imports(ingest, content[:1] + b"\x8b no gzip", name="other")
    assert summary.problems[-1].reason == "GZIP_BROKEN"
    assert summary.recorded == len(ingest.recorded) > 100


def test_an_interrupted_import_goes_on_where_it_stopped(desk, small_batches):
    content = "\n".join(json.dumps(cloud_event(number)) for number in range(9))
    refused = [Fault()] * 2 + [Fault(grpc.StatusCode.PERMISSION_DENIED)] * 5
    with IngestInMemory(refused) as ingest, pytest.raises(ImportInterrupted, match="4 rows are done"):
        desk.imports(ingest, content)
    with IngestInMemory(address=ingest.address) as restarted:
        summary = desk.imports(restarted)
    assert (summary.resumed_rows, summary.read, summary.recorded) == (4, 9, 9)
    assert [event.id for event in restarted.recorded] == [f"req-{number}" for number in range(4, 9)]


def test_cloud_events_are_loaded_into_a_backfill(desk):
    with IngestInMemory() as ingest:
        desk.imports(ingest, json.dumps(EVENTS), backfill="jan")
    assert ingest.backfills == {"jan"}


def test_options_that_are_for_web_logs_are_refused_for_cloud_events(desk):
    with IngestInMemory() as ingest, pytest.raises(FileRefused, match="leave out the other options"):
        desk.imports(ingest, json.dumps(EVENTS), web=WebLogOptions(source="web-2"))


def test_lines_without_a_version_are_taken_when_the_format_is_said(desk):
    with IngestInMemory() as ingest:
        with pytest.raises(FileRefused, match="no CloudEvents; name its --mapping, or its --format"):
            desk.imports(ingest, '{"id": "1"}')
        assert desk.imports(ingest, json.dumps(EVENTS), format=FileFormat.CLOUD_EVENTS).recorded == 3
