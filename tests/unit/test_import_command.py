"""`meterlog import`, whole: from a file to an ingest service in memory that fails as scripted."""

import gzip
import json
import os
import threading

import grpc
import pytest

from meterlog.client import RetryPolicy
from meterlog.client.testing import Fault, IngestInMemory
from services.cli.importing.command import import_usage
from services.cli.importing.refusal import FileRefused, ImportInterrupted, MappingRefused
from services.cli.importing.sending import IN_FLIGHT_MAX
from services.cli.importing.summary import PROBLEMS_SHOWN_MAX

MAPPING = """
source: "{file}"
id: "row-{row}"
type: llm.completion
subject: "tenant-{row % 8}"
time: {column: TIMESTAMP}
properties:
  input_tokens: {number: "{ContextTokens}"}
  output_tokens: {number: "{GeneratedTokens}"}
"""
QUICK = RetryPolicy(give_up_after_s=60.0, first_delay_s=0.001, delay_max_s=0.01)
IMPATIENT = RetryPolicy(give_up_after_s=0.05, first_delay_s=0.001, delay_max_s=0.01)


def row(number):
    return f"2023-11-16 18:{number % 60:02}:46.6805900,{number},{number * 2}"


def trace(*rows):
    return "\r\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\r\n"


class Desk:
    """A folder with a file of usage and a mapping, from which imports are run."""

    def __init__(self, folder):
        self.folder = folder
        self.mapping = folder / "mapping.yaml"
        self.mapping.write_text(MAPPING)
        self.file = folder / "trace.csv"
        self.in_flight = IN_FLIGHT_MAX

    def imports(self, ingest, content=None, name="trace.csv", **options):
        self.file = self.folder / name
        if content is not None:
            self.file.write_bytes(content if isinstance(content, bytes) else content.encode())
        options = {"retry": QUICK, "in_flight": self.in_flight, **options}
        return import_usage(self.file, self.mapping, address=ingest.address, var=self.folder / "var", **options)

    def progress_files(self):
        return sorted((self.folder / "var").rglob("*"))[1:]


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture
def one_at_a_time(desk):
    """Batches arrive in the order of the file, so that a scripted fault meets the batch that is meant."""
    desk.in_flight = 1


def open_when_recorded(gate, ingest, rows):
    """Opens the gate once so many rows are recorded, or after two seconds."""
    for _ in range(400):
        if len(ingest.recorded) >= rows or gate.wait(0.005):
            break
    gate.set()


def counts(summary):
    return (summary.read, summary.recorded, summary.duplicate, summary.conflict, summary.invalid)


def test_every_row_is_recorded_and_a_second_import_finds_only_duplicates(desk):
    with IngestInMemory() as ingest:
        first = desk.imports(ingest, trace(*map(row, range(2500))))
        second = desk.imports(ingest)
    assert counts(first) == (2500, 2500, 0, 0, 0)
    assert counts(second) == (2500, 0, 2500, 0, 0)
    assert (first.is_clean, first.exit_code, second.resumed_rows) == (True, 0, 0)
    assert sorted(ingest.batches) == [500, 500, 1000, 1000, 1000, 1000]
    assert sum(int(event.properties["output_tokens"]) for event in ingest.recorded) == 2 * sum(range(2500))


def test_a_row_becomes_the_usage_event_that_the_mapping_says(desk):
    with IngestInMemory() as ingest:
        desk.imports(ingest, trace(*map(row, range(10))))
    event = next(event for event in ingest.recorded if event.id == "row-9")
    assert (event.source, event.subject, event.time.nanos) == ("trace.csv", "tenant-1", 680_590_000)


def test_broken_rows_are_reported_with_their_lines_and_the_rest_is_recorded(desk):
    broken = ["2023-11-16 18:15:46", "garbage", "soon,1,2", "2023-11-16 18:15:46,many,2", '"2023-11-16 18:15:46,1,2']
    rows = [row(0), *broken, row(6)]
    with IngestInMemory() as ingest:
        summary = desk.imports(ingest, trace(*rows))
    assert counts(summary) == (7, 2, 0, 0, 5)
    assert (summary.exit_code, summary.problems_not_shown) == (1, 0)
    assert [(problem.line, problem.reason, problem.field) for problem in summary.problems] == [
        (3, "TOO_FEW_COLUMNS", ""),
        (4, "TOO_FEW_COLUMNS", ""),
        (5, "BAD_TIME", "time"),
        (6, "NOT_A_DECIMAL", "properties.input_tokens"),
        (7, "BAD_QUOTES", ""),
    ]
    assert [(event.id, event.subject) for event in ingest.recorded] == [("row-0", "tenant-0"), ("row-6", "tenant-6")]


def test_what_the_service_refuses_is_reported_with_its_line(desk):
    desk.mapping.write_text(MAPPING.replace("row-{row}", "{GeneratedTokens}").partition("  output_tokens")[0])
    stamp = "2023-11-16 18:15:46"
    with IngestInMemory() as ingest:
        summary = desk.imports(ingest, trace(f"{stamp},1,a", "broken", f"{stamp},2,", f"{stamp},3,a", f"{stamp},1,b"))
    assert counts(summary) == (5, 2, 0, 1, 2)
    assert [(problem.line, problem.reason) for problem in summary.problems] == [
        (3, "TOO_FEW_COLUMNS"),
        (4, "ID_EMPTY"),
        (5, "CONTENT_DIFFERS"),
    ]


def test_only_the_first_problems_are_shown_but_all_are_counted(desk):
    with IngestInMemory() as ingest:
        summary = desk.imports(ingest, trace(*["broken"] * 3000))
    assert (summary.read, summary.invalid) == (3000, 3000)
    assert [problem.line for problem in summary.problems] == list(range(2, PROBLEMS_SHOWN_MAX + 2))
    assert summary.problems_not_shown == 3000 - PROBLEMS_SHOWN_MAX
    assert ingest.batches == ()


def test_a_file_cut_off_in_its_compression_keeps_what_can_be_read(desk):
    content = gzip.compress(trace(*map(row, range(3000))).encode())
    with IngestInMemory() as ingest:
        summary = desk.imports(ingest, content[: len(content) // 2], name="trace.csv.gz")
    assert summary.problems[-1].reason == "GZIP_BROKEN"
    assert summary.recorded == len(ingest.recorded) > 500
    assert summary.exit_code == 1


def test_json_lines_are_imported_by_their_name(desk):
    lines = [json.dumps({"TIMESTAMP": "2023-11-16T18:15:46Z", "ContextTokens": 5, "GeneratedTokens": 0.5})] * 3
    with IngestInMemory() as ingest:
        summary = desk.imports(ingest, gzip.compress("\n".join(lines).encode()), name="usage.jsonl.gz")
    assert counts(summary) == (3, 3, 0, 0, 0)
    assert ingest.recorded[0].properties["output_tokens"] == "0.5"


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        ("", "trace.csv", "FILE_EMPTY"),
        ("TIMESTAMP,ContextTokens\r\n", "trace.csv", "COLUMN_MISSING"),
        (None, "nowhere.csv", "FILE_NOT_FOUND"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_before_anything_is_sent(desk, content, name, reason):
    with IngestInMemory() as ingest, pytest.raises(FileRefused) as refused:
        desk.imports(ingest, content, name=name)
    assert refused.value.reason == reason
    assert ingest.batches == ()


def test_a_wrong_mapping_is_refused_by_file_and_key(desk):
    desk.mapping.write_text(MAPPING.replace("type:", "tipe:"))
    with IngestInMemory() as ingest, pytest.raises(MappingRefused, match=r"mapping\.yaml: tipe is no key"):
        desk.imports(ingest, trace(row(0)))


def test_failures_that_pass_lose_and_double_nothing(desk):
    lost = Fault(grpc.StatusCode.UNAVAILABLE, is_recorded=True)
    down = Fault(grpc.StatusCode.UNAVAILABLE)
    busy = Fault(grpc.StatusCode.RESOURCE_EXHAUSTED)
    with IngestInMemory([lost, down, busy, lost, busy] * 4) as ingest:
        summary = desk.imports(ingest, trace(*map(row, range(10_000))))
    assert (summary.read, summary.recorded + summary.duplicate) == (10_000, 10_000)
    assert len(ingest.recorded) == 10_000


def test_an_interrupted_import_goes_on_where_it_stopped(desk, one_at_a_time):
    refused = [Fault()] * 3 + [Fault(grpc.StatusCode.PERMISSION_DENIED)] * 10
    content = trace(*map(row, range(9_000)), "broken")
    with IngestInMemory(refused) as ingest:
        with pytest.raises(ImportInterrupted, match="run the same import again to continue") as interrupted:
            desk.imports(ingest, content)
        assert interrupted.value.reason == "PERMISSION_DENIED"
        assert len(ingest.recorded) == 3_000
    with IngestInMemory(address=ingest.address) as restarted:
        summary = desk.imports(restarted)
    assert summary.resumed_rows == 3_000
    assert counts(summary) == (9_001, 9_000, 0, 0, 1)
    assert len(restarted.recorded) == 6_000
    assert desk.progress_files() == []


def test_what_was_acknowledged_before_its_turn_is_sent_again(desk):
    gate = threading.Event()
    with IngestInMemory([Fault(grpc.StatusCode.PERMISSION_DENIED, gate=gate)]) as ingest:
        threading.Thread(daemon=True, target=open_when_recorded, args=(gate, ingest, 3_000)).start()
        with pytest.raises(ImportInterrupted):
            desk.imports(ingest, trace(*map(row, range(4_000))))
        assert len(ingest.recorded) == 3_000
        summary = desk.imports(ingest)
    assert (summary.recorded, summary.duplicate) == (summary.resumed_rows + 1_000, 3_000 - summary.resumed_rows)
    assert len(ingest.recorded) == 4_000


def test_a_service_that_is_killed_and_comes_back_is_waited_for(desk):
    services = [IngestInMemory()]

    def kill_and_start_again(progress):
        if len(services) < 4:
            services[-1].__exit__(None, None, None)
            services.append(IngestInMemory(address=services[0].address).__enter__())

    with services[0]:
        content = trace(*map(row, range(12_000)))
        summary = desk.imports(services[0], content, on_progress=kill_and_start_again)
    services[-1].__exit__(None, None, None)
    assert counts(summary) == (12_000, 12_000, 0, 0, 0)
    assert len({event.id for service in services for event in service.recorded}) == 12_000


def test_a_service_that_stays_away_ends_the_import_in_bounded_time(desk):
    with IngestInMemory() as gone:
        pass
    with pytest.raises(
        ImportInterrupted, match=f"ingest service at {gone.address} did not accept usage"
    ) as interrupted:
        desk.imports(gone, trace(row(0)), retry=IMPATIENT)
    assert interrupted.value.reason == "UNAVAILABLE"


@pytest.mark.parametrize("change", ["restart", "file", "mapping", "address"])
def test_an_import_that_is_not_the_same_any_more_starts_from_the_first_row(desk, one_at_a_time, change):
    refused = [Fault()] + [Fault(grpc.StatusCode.PERMISSION_DENIED)] * 10
    content = trace(*map(row, range(6_000)))
    with IngestInMemory(refused) as ingest, pytest.raises(ImportInterrupted):
        desk.imports(ingest, content)
    if change == "file":
        os.utime(desk.file, ns=(0, 0))
    if change == "mapping":
        desk.mapping.write_text(MAPPING + "# changed\n")
    address = "127.0.0.1:0" if change == "address" else ingest.address
    with IngestInMemory(address=address) as later:
        summary = desk.imports(later, restart=change == "restart")
    assert (summary.resumed_rows, summary.recorded) == (0, 6_000)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"summary": {"read": 5}}', '{"summary": 5}', "\0"])
def test_progress_that_cannot_be_read_is_ignored(desk, one_at_a_time, content):
    with IngestInMemory([Fault(), Fault(grpc.StatusCode.PERMISSION_DENIED)]) as ingest:
        with pytest.raises(ImportInterrupted, match="1000 rows are done"):
            desk.imports(ingest, trace(*map(row, range(2_000))))
        [kept] = desk.progress_files()
        kept.write_text(content)
        summary = desk.imports(ingest)
    assert (summary.resumed_rows, counts(summary)) == (0, (2_000, 1_000, 1_000, 0, 0))


def test_progress_is_told_in_order_and_ends_with_the_whole_file(desk):
    seen = []
    with IngestInMemory() as ingest:
        desk.imports(ingest, trace(*map(row, range(4_500))), on_progress=seen.append)
    assert [progress.rows for progress in seen] == [1_000, 2_000, 3_000, 4_000, 4_500]
    assert [progress.bytes_done for progress in seen] == sorted(progress.bytes_done for progress in seen)
    assert seen[-1].bytes_done == seen[-1].bytes_total == desk.file.stat().st_size


def test_an_interrupt_from_the_keyboard_ends_at_once_and_keeps_the_progress(desk, one_at_a_time):
    def press(progress):
        raise KeyboardInterrupt

    down = [Fault(), *[Fault(grpc.StatusCode.UNAVAILABLE)] * 1000]
    with IngestInMemory(down) as ingest, pytest.raises(KeyboardInterrupt):
        desk.imports(ingest, trace(*map(row, range(6_000))), on_progress=press)
    assert len(desk.progress_files()) == 1
