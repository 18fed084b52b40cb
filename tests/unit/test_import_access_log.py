"""Access logs of web servers: every request is metered once, whatever its file is called."""

import gzip
import os
import re
from collections import Counter
from datetime import UTC
from pathlib import Path

import grpc
import pytest

from meterlog.client import RetryPolicy
from meterlog.client.testing import Fault, IngestInMemory
from services.cli.importing import column_batch, occurrences
from services.cli.importing.access_log import log_time
from services.cli.importing.command import import_usage
from services.cli.importing.file_format import FileFormat
from services.cli.importing.occurrences import LineIds
from services.cli.importing.refusal import FileRefused, ImportInterrupted
from services.cli.importing.web_request import SubjectFrom, WebLogOptions

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "web_access" / "access.log"
REAL_LOG = os.environ.get("WEB_LOG", "")
LOGS = [SAMPLE, *([Path(REAL_LOG)] if REAL_LOG and Path(REAL_LOG).exists() else [])]
QUICK = RetryPolicy(give_up_after_s=60.0, first_delay_s=0.001, delay_max_s=0.01)


def line(path="/docs/a", status=200, size="10", user="-", second=3, client="192.0.2.1"):
    return f'{client} - {user} [17/May/2026:10:05:{second:02} +0200] "GET {path} HTTP/1.1" {status} {size} "-" "curl/8"'


class Desk:
    """A folder from which logs are imported into one ingest service."""

    def __init__(self, folder, ingest):
        self.folder = folder
        self.ingest = ingest

    def imports(self, *lines, name="access.log", content=None, **options):
        file = self.folder / name
        text = "".join(f"{each}\n" for each in lines).encode() if content is None else content
        file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        options = {"retry": QUICK, **options}
        return import_usage(file, address=self.ingest.address, var=self.folder / "var", **options)

    def events(self):
        return self.ingest.recorded


@pytest.fixture
def desk(tmp_path):
    with IngestInMemory() as ingest:
        yield Desk(tmp_path, ingest)


def counts(summary):
    return (summary.read, summary.recorded, summary.duplicate, summary.conflict, summary.invalid)


def counted_by_hand(path):
    """Requests and bytes by path prefix and status class, by other means than the import's."""
    requests, sizes = Counter(), Counter()
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for each in content.decode().splitlines():
        request, rest = each.split('"')[1], each.split('" ', 1)[1]
        status, size = rest.split()[:2]
        target = request.split(" ")[1] if re.match(r"[A-Z]+ ", request) else "-"
        target = re.sub(r"^\w+://[^/]+", "", target).partition("?")[0].partition("#")[0]
        prefix = "/" + target.split("/")[1] if target.startswith("/") else target
        group = (prefix, status[0] + "xx")
        requests[group] += 1
        sizes[group] += 0 if size == "-" else int(size)
    return requests, sizes


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.name)
def test_requests_and_bytes_by_path_and_status_agree_with_an_independent_count(tmp_path, log):
    with IngestInMemory() as ingest:
        summary = import_usage(log, address=ingest.address, var=tmp_path)
        again = import_usage(log, address=ingest.address, var=tmp_path)
    requests, sizes = Counter(), Counter()
    for event in ingest.recorded:
        group = (event.properties["path_prefix"], event.properties["status_class"])
        requests[group] += 1
        sizes[group] += int(event.properties["bytes"])
    assert (requests, sizes) == counted_by_hand(log)
    assert summary.is_clean
    assert again.duplicate == summary.recorded == requests.total()


def test_a_line_becomes_a_usage_event_with_its_request(desk):
    desk.imports(line("/docs/api/v1?key=secret#top", 204, "-", user="frank"))
    [event] = desk.events()
    assert (event.type, event.source, event.subject, event.value) == ("http.request", "access-log", "192.0.2.1", "")
    assert event.time.ToJsonString() == "2026-05-17T08:05:03Z"
    assert dict(event.properties) == {
        "method": "GET",
        "path": "/docs/api/v1",
        "path_prefix": "/docs",
        "status": "204",
        "status_class": "2xx",
        "bytes": "0",
        "protocol": "HTTP/1.1",
    }


def test_the_common_format_and_added_fields_are_read_alike(desk):
    plain = '192.0.2.1 - - [17/May/2026:10:05:03 +0200] "GET / HTTP/1.1" 200 12'
    summary = desk.imports(plain, plain + ' "-" "agent with \\"quotes\\"" 0.003 upstream=7')
    assert counts(summary) == (2, 2, 0, 0, 0)


@pytest.mark.parametrize("name", ["access.log.1", "renamed.txt", "access.log.2.gz"])
def test_a_rotated_renamed_or_compressed_log_is_the_same_log(desk, name):
    lines = [line(second=number) for number in range(20)]
    desk.imports(*lines)
    assert counts(desk.imports(*lines, name=name)) == (20, 0, 20, 0, 0)


def test_a_log_that_has_grown_only_adds(desk):
    desk.imports(line(second=1), line(second=2))
    assert counts(desk.imports(line(second=1), line(second=2), line(second=3))) == (3, 1, 2, 0, 0)


def test_equal_lines_are_as_many_requests(desk):
    first = desk.imports(*[line()] * 3)
    grown = desk.imports(*[line()] * 3, line(second=4), line())
    assert (first.recorded, grown.recorded, grown.duplicate) == (3, 2, 3)
    assert len({event.id for event in desk.events()}) == 5


def test_an_id_depends_on_no_batch(desk, monkeypatch):
    lines = [line(second=number % 7) for number in range(100)]
    desk.imports(*lines)
    monkeypatch.setattr("services.cli.importing.access_log.COLUMN_ROWS_MAX", 3)
    assert counts(desk.imports(*lines, restart=True)) == (100, 0, 100, 0, 0)


def test_the_memory_for_equal_lines_is_bounded_and_a_grown_log_still_makes_the_same_ids(monkeypatch):
    monkeypatch.setattr(occurrences, "REMEMBERED_LINES", 4)
    lines = [f"line {number % 3} of {number // 20}" for number in range(60)]
    ids, grown = LineIds(), LineIds()
    first = [ids.next_id(each) for each in lines[:30]]
    assert [grown.next_id(each) for each in lines][:30] == first
    assert len(set(first)) == 30
    assert len(ids._recent) + len(ids._older) <= 8


def test_a_line_that_is_not_finished_yet_is_told_and_counted_once_it_is(desk):
    cut = '192.0.2.1 - - [17/May/2026:10:05:03 +0200] "GET / HTTP/1.1" 200 20'
    summary = desk.imports(content=f"{line()}\n{cut}".encode())
    assert counts(summary) == (2, 1, 0, 0, 1)
    assert [(each.line, each.reason) for each in summary.problems] == [(2, "LINE_UNFINISHED")]
    assert counts(desk.imports(line(), cut + "30")) == (2, 1, 1, 0, 0)
    assert [event.properties["bytes"] for event in desk.events()] == ["10", "2030"]


def test_malformed_lines_are_told_with_line_and_reason_and_the_rest_is_recorded(desk):
    good = line()
    content = "\n".join(
        [
            good,
            "garbage",
            "",
            good.replace("[17/May", "17/May"),
            good.replace("17/May", "32/May"),
            good.replace('"GET /docs/a HTTP/1.1"', "GET"),
            good.replace(" 200 10 ", " 99 10 "),
            good.replace(" 200 10 ", " 200 many "),
        ]
    )
    content = content.encode() + b"\n" + line("/\xff").encode("latin-1") + b"\n" + line(second=9).encode() + b"\n"
    summary = desk.imports(content=content)
    assert counts(summary) == (9, 2, 0, 0, 7)
    assert [(each.line, each.reason) for each in summary.problems] == [
        (2, "NO_CLIENT"),
        (4, "NO_CLIENT"),
        (5, "BAD_TIME"),
        (6, "NO_REQUEST"),
        (7, "NO_STATUS"),
        (8, "NO_STATUS"),
        (9, "NOT_UTF8"),
    ]
    assert [(each.reason, each.count, each.first_line) for each in summary.reasons][:2] == [
        ("NO_CLIENT", 2, 2),
        ("BAD_TIME", 1, 5),
    ]
    assert summary.exit_code == 1


def test_a_request_that_the_server_could_not_read_is_metered_by_its_answer(desk):
    desk.imports(line().replace("GET /docs/a HTTP/1.1", "-"), line().replace("GET /docs/a HTTP/1.1", "\\x16\\x03"))
    assert {event.properties["path_prefix"] for event in desk.events()} == {"-"}
    assert len(desk.events()) == 2


@pytest.mark.parametrize(
    ("target", "segments", "path", "prefix"),
    [
        ("/", 1, "/", "/"),
        ("/a", 1, "/a", "/a"),
        ("/a/b/c?x=/d", 1, "/a/b/c", "/a"),
        ("/a/b/c", 2, "/a/b/c", "/a/b"),
        ("/a/", 2, "/a/", "/a"),
        ("/a/b/c", 9, "/a/b/c", "/a/b/c"),
        ("http://www.example/a/b", 1, "/a/b", "/a"),
        ("http://www.example", 1, "/", "/"),
        ("*", 1, "*", "*"),
        ("/" + "x" * 3000, 1, "/" + "x" * 1023, "/" + "x" * 1023),
        ("/ä/ö", 1, "/ä/ö", "/ä"),
        ("/with space/b", 1, "/with space/b", "/with space"),
    ],
)
def test_the_prefix_of_a_path_is_its_first_segments(desk, target, segments, path, prefix):
    desk.imports(line(target), web=WebLogOptions(prefix_segments=segments))
    [event] = desk.events()
    assert (event.properties["path"], event.properties["path_prefix"]) == (path, prefix)


def test_the_customer_is_the_client_the_user_or_whoever_is_named(desk):
    desk.imports(line(user="frank"), line(second=4), web=WebLogOptions(SubjectFrom.USER, source="users"))
    desk.imports(line(user="frank"), web=WebLogOptions(subject="acme", source="fixed"))
    assert [(event.source, event.subject) for event in desk.events()] == [("users", "frank"), ("fixed", "acme")]


def test_a_request_of_nobody_is_told_when_users_are_counted(desk):
    summary = desk.imports(line(), line(user="frank"), web=WebLogOptions(SubjectFrom.USER))
    assert [(each.line, each.field, each.reason) for each in summary.problems] == [(1, "subject", "NO_USER")]


def test_an_interrupted_import_goes_on_where_it_stopped(desk, monkeypatch, tmp_path):
    monkeypatch.setattr("services.cli.importing.access_log.COLUMN_ROWS_MAX", 10)
    lines = [line(second=number % 5) for number in range(45)]
    faults = [Fault(), Fault(), Fault(grpc.StatusCode.PERMISSION_DENIED)]
    with IngestInMemory(faults) as ingest:
        broken = Desk(tmp_path, ingest)
        with pytest.raises(ImportInterrupted, match="20 rows are done"):
            broken.imports(*lines, in_flight=1)
        summary = import_usage(tmp_path / "access.log", address=ingest.address, var=tmp_path / "var")
    assert (summary.resumed_rows, counts(summary)) == (20, (45, 45, 0, 0, 0))
    assert len(ingest.recorded) == 45


def test_lost_answers_lose_and_double_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("services.cli.importing.access_log.COLUMN_ROWS_MAX", 10)
    lost = Fault(grpc.StatusCode.UNAVAILABLE, is_recorded=True)
    with IngestInMemory([lost, Fault(grpc.StatusCode.RESOURCE_EXHAUSTED)] * 5) as ingest:
        summary = Desk(tmp_path, ingest).imports(*[line(second=number % 60) for number in range(100)])
    assert (summary.recorded + summary.duplicate, len(ingest.recorded)) == (100, 100)


def test_a_backfill_is_named_in_every_call(desk):
    desk.imports(line(), backfill="may-again")
    assert desk.ingest.backfills == {"may-again"}


def test_a_file_that_is_no_web_log_needs_a_mapping_or_a_format(desk):
    with pytest.raises(FileRefused, match="name its --mapping, or its --format"):
        desk.imports("a;b;c")
    assert counts(desk.imports("a;b;c", format=FileFormat.ACCESS_LOG)) == (1, 0, 0, 0, 1)


def test_an_empty_log_is_imported_when_it_is_said_to_be_one(desk):
    assert counts(desk.imports(format=FileFormat.ACCESS_LOG)) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("29/Feb/2024:23:59:59 -0330", "2024-03-01T03:29:59+00:00"),
        ("17/May/2026:10:05:03.250 +0545", "2026-05-17T04:20:03.250000+00:00"),
        ("29/Feb/2023:00:00:00 +0000", None),
        ("17/Mai/2026:10:05:03 +0000", None),
        ("17/May/2026:24:05:03 +0000", None),
        ("17/May/2026:10:05:03 +9900", None),
        ("17/May/2026:10:05:03", None),
    ],
)
def test_a_time_is_read_with_its_offset_or_not_at_all(text, instant):
    found = log_time(text)
    assert (found and found.astimezone(UTC).isoformat()) == instant


def test_batches_that_were_acknowledged_are_not_sent_again():
    batches = [column_batch.ColumnBatch(None, (), (), rows, 0) for rows in (10, 10, 5)]
    assert [batch.rows for batch in column_batch.not_done_yet(iter(batches), 20)] == [5]
