"""CloudEvents from the command line to an ingest service over a socket: each is answered, and the exit code says it."""

import gzip
import json
import re
import sys

import pytest

from services.cli import sent_cloud_events
from services.cli.__main__ import main
from services.ingest import cloud_event_request
from services.ingest.server import INGEST_SERVICE
from tests.ingest_room import open_room
from tests.served import served

LOG_LINE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} ")
"""The service logs into the same output, because here it runs in the same process."""


def cloud_event(number, **members):
    return {
        "specversion": "1.0",
        "id": f"req-{number}",
        "source": "gateway-7",
        "type": "llm",
        "subject": "acme",
        "time": "2024-01-31T11:00:00Z",
        "data": {"value": number},
        **members,
    }


def lines(*events):
    return "\n".join(event if isinstance(event, str) else json.dumps(event) for event in events)


class Desk:
    """A folder with a file of CloudEvents, from which commands are run."""

    def __init__(self, room, folder, monkeypatch, capsys):
        self.room = room
        self.file = folder / "events.json"
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments, content=None):
        """Exit code, and the JSON or the text."""
        if content is not None:
            self.file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        self._monkeypatch.setattr(sys, "argv", ["meterlog", *arguments])
        self._capsys.readouterr()
        code = main()
        output = self._capsys.readouterr()
        text = "".join(line for line in output.out.splitlines(keepends=True) if not LOG_LINE.match(line))
        return code, json.loads(text) if "--json" in arguments else text + output.err

    def send(self, content, *options):
        """What became of a file's CloudEvents: exit code, and outcomes by id or line."""
        code, found = self.run("usage", "send", str(self.file), "--json", *options, content=content)
        return code, {each["id"] or each["line"]: each["outcome"] for each in found["results"]}

    @property
    def recorded(self):
        return [row[1] for row in self.room.recorded()]


@pytest.fixture
def desk(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("METERLOG_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("COLUMNS", "200")
    with (
        open_room(tmp_path / "ingest") as room,
        room.replica() as replica,
        served([(INGEST_SERVICE, replica.face.register)]) as address,
    ):
        monkeypatch.setenv("METERLOG_INGEST_ADDRESS", address)
        yield Desk(room, tmp_path, monkeypatch, capsys)


def test_each_is_answered_and_a_refused_one_makes_the_command_fail(desk):
    code, outcomes = desk.send(lines(cloud_event(1), cloud_event(2, time="noon"), "no json", cloud_event(3)))
    assert (code, outcomes) == (1, {"req-1": "recorded", "req-2": "invalid", 3: "invalid", "req-3": "recorded"})
    code, outcomes = desk.send(json.dumps([cloud_event(1), cloud_event(3, data={"value": 4})]))
    assert (code, outcomes) == (1, {"req-1": "duplicate", "req-3": "conflict"})
    assert desk.send(json.dumps(cloud_event(1))) == (0, {"req-1": "duplicate"})
    assert desk.recorded == ["req-1", "req-3"]


def test_people_read_a_line_for_each_with_the_line_of_the_file(desk):
    code, text = desk.run("usage", "send", str(desk.file), content=lines(cloud_event(1), "", cloud_event(2, id="")))
    assert (code, [line.split()[:2] for line in text.splitlines()[:2]]) == (1, [["line", "1"], ["line", "3"]])
    assert "invalid" in text.splitlines()[1]
    assert "ID_EMPTY" in text.splitlines()[1]
    assert text.splitlines()[-1] == "2 CloudEvents: 1 recorded, 0 duplicates, 0 conflicts, 1 invalid"


@pytest.mark.parametrize("compressed", [gzip.compress, bytes])
def test_what_is_piped_is_sent(desk, monkeypatch, compressed):
    desk.file.write_bytes(compressed(lines(cloud_event(1), cloud_event(2)).encode()))
    with desk.file.open() as piped:
        monkeypatch.setattr(sys, "stdin", piped)
        code, text = desk.run("usage", "send")
    assert (code, desk.recorded, "2 recorded" in text) == (0, ["req-1", "req-2"], True)


def test_an_atomic_request_is_recorded_whole_or_not_at_all(desk):
    wrong = lines(cloud_event(1), cloud_event(2, subject=""))
    assert desk.send(wrong, "--atomic") == (1, {"req-1": "not_recorded", "req-2": "invalid"})
    code, found = desk.run("usage", "send", str(desk.file), "--atomic", content=lines(cloud_event(1), "no json"))
    assert (code, "nothing was sent: line 2: the line is not JSON" in found) == (1, True)
    assert desk.recorded == []
    assert desk.send(lines(cloud_event(1), cloud_event(2)), "--atomic")[0] == 0
    assert desk.recorded == ["req-1", "req-2"]


def test_receipts_are_shown_to_programs(desk):
    _, found = desk.run("usage", "send", str(desk.file), "--json", content=lines(cloud_event(1)))
    (receipt,) = found["receipts"]
    assert (receipt["position"], receipt["stream"]) == (found["results"][0]["position"], "usage-0")
    assert (found["recorded"], found["invalid"]) == (1, 0)


def test_a_backfill_that_does_not_exist_takes_nothing(desk):
    code, text = desk.run("usage", "send", str(desk.file), "--backfill", "jan", content=lines(cloud_event(1)))
    assert (code, "jan" in text, desk.recorded) == (1, True, [])


@pytest.mark.parametrize(("bound", "value"), [("EVENTS_PER_REQUEST_MAX", 2), ("CLOUD_EVENT_BYTES_MAX", 200)])
def test_more_than_a_request_holds_is_refused_with_the_command_that_takes_it(desk, monkeypatch, bound, value):
    monkeypatch.setattr(sent_cloud_events, bound, value)
    code, text = desk.run("usage", "send", str(desk.file), content=lines(*map(cloud_event, range(3))))
    assert (code, "`meterlog import`" in text, desk.recorded) == (2, True, [])


def test_names_from_outside_steer_no_terminal(desk):
    strange = cloud_event(1, id="\x1b[31mred\ud800", source="\n")
    code, text = desk.run("usage", "send", str(desk.file), content=lines(strange))
    assert (code, "\x1b" in text, r"\x1b[31mred\ud800" in text, r"\n" in text) == (1, False, True, True)
    assert desk.run("usage", "send", str(desk.file), "--json", content=lines(strange))[1]["invalid"] == 1


@pytest.mark.parametrize(("content", "code"), [("", 2), ("no json", 1), (b"\x1f\x8b broken", 2)])
def test_a_file_without_cloud_events_is_told(desk, content, code):
    found, text = desk.run("usage", "send", str(desk.file), content=content)
    assert (found, "error" in text or "invalid" in text) == (code, True)


def test_an_import_tells_who_is_at_fault_when_the_service_refuses_them_together(desk, monkeypatch):
    monkeypatch.setattr(cloud_event_request, "JSON_PARTS_MAX", 40)
    greedy = cloud_event(2, data={f"k{number}": number for number in range(40)})
    content = lines(cloud_event(1), greedy, *(cloud_event(number) for number in range(3, 20)))
    code, found = desk.run("import", str(desk.file), "--json", content=content)
    assert (code, found["recorded"], found["invalid"]) == (1, 18, 1)
    assert [(each["line"], each["reason"]) for each in found["problems"]] == [(2, "JSON_TOO_LARGE")]
    assert len(desk.recorded) == 18
