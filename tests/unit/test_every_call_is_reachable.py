"""Every call of metering, and every field of its request, is within reach of the SDK and of the command line.

The tables are compared with the contract: a call or a field that is added to it fails here until both can say it.
"""

import asyncio
import inspect
import shlex
import sys

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from meterlog.aggregator.v1 import correction_pb2 as correction
from meterlog.client import AsyncMeterlog, Meterlog
from meterlog.ingest.v1 import ingest_pb2 as ingest
from services.cli.__main__ import main
from tests.calls_by_command import NOT_ON_THE_COMMAND_LINE, ON_THE_COMMAND_LINE
from tests.calls_by_sdk import IN_THE_SDK
from tests.recording_server import METHODS, RecordingServer, fields_of

MAPPING = """
source: s
id: "{id}"
type: t
subject: acme
time: {column: time}
value: "3"
properties: {model: large}
"""

LEFT_TO_THE_CLIENT = {"page_size", "page_token"}
REFUSED = {"events.proto_data"}
ANSWERED_ONLY = {f"meter.{name}" for name in ("version", "created_at", "archived_at", "effective_from", "counting")}


def recorded(events):
    return [ingest.UsageResult(outcome=ingest.USAGE_OUTCOME_RECORDED, position=1) for _ in events]


ANSWERS = {
    "IngestService.RecordUsage": lambda asked: ingest.RecordUsageResponse(results=recorded(asked.events)),
    "IngestService.RecordUsageStream": lambda asked: ingest.RecordUsageStreamResponse(
        sequence=asked.sequence, results=recorded(asked.events)
    ),
    "IngestService.RecordCloudEvents": lambda _asked: ingest.RecordCloudEventsResponse(results=recorded([1])),
    "AggregatorService.GetMeter": lambda asked: aggregator.GetMeterResponse(
        meter=aggregator.Meter(slug=asked.slug, version=1)
    ),
    "AggregatorService.GetUsageEvent": lambda _asked: aggregator.GetUsageEventResponse(
        event=aggregator.RecordedUsageEvent(source="s", id="1", value="1")
    ),
    "CorrectionService.PreviewCancellation": lambda _asked: correction.PreviewCancellationResponse(
        usage_event_count=3, position=88
    ),
}


@pytest.fixture
def server():
    with RecordingServer(ANSWERS) as started:
        yield started


@pytest.fixture
def folder(tmp_path, monkeypatch, server):
    """A folder with files of usage, from which commands reach the server."""
    monkeypatch.chdir(tmp_path)
    for name in ("INGEST", "AGGREGATOR", "RATING", "NOTIFIER"):
        monkeypatch.setenv(f"METERLOG_{name}_ADDRESS", server.address)
    (tmp_path / "usage.csv").write_text("id,time\n1,2026-01-01T00:00:00Z\n")
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    (tmp_path / "access.log").write_text('10.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 5\n')
    (tmp_path / "events.json").write_text('{"specversion": "1.0", "id": "1", "source": "s"}')
    return tmp_path


def every_field(name):
    fields = set(fields_of(METHODS[name].input_type)) - LEFT_TO_THE_CLIENT - REFUSED - ANSWERED_ONLY
    return {field for field in fields if not field.startswith("meter.counting.")}


def left_out(server, name):
    assert name in server.fields
    return every_field(name) - server.fields[name]


def test_the_tables_are_of_all_calls_that_there_are():
    assert set(IN_THE_SDK) == set(METHODS) == set(ON_THE_COMMAND_LINE)


@pytest.mark.parametrize("name", METHODS)
def test_the_sdk_makes_the_call_with_every_field(server, name):
    with Meterlog(server.address, aggregator=server.address) as meterlog:
        for call in IN_THE_SDK[name]:
            answered = call(meterlog)
            if inspect.isgenerator(answered):
                list(answered)
    assert left_out(server, name) == set()


@pytest.mark.parametrize("name", METHODS)
def test_the_sdk_makes_the_call_in_an_event_loop_with_every_field(server, name):
    async def ask():
        async with AsyncMeterlog(server.address, aggregator=server.address) as meterlog:
            for call in IN_THE_SDK[name]:
                answered = call(meterlog)
                if inspect.isasyncgen(answered):
                    [each async for each in answered]
                else:
                    await answered

    asyncio.run(ask())
    assert left_out(server, name) == set()


@pytest.mark.parametrize("name", METHODS)
def test_a_command_makes_the_call_with_every_field(server, folder, name, monkeypatch, capsys):
    for command in ON_THE_COMMAND_LINE[name]:
        monkeypatch.setattr(sys, "argv", ["meterlog", *shlex.split(command)])
        assert main() == 0, capsys.readouterr()
    assert left_out(server, name) <= NOT_ON_THE_COMMAND_LINE.get(name, set())


def test_what_the_command_line_leaves_out_is_in_the_contract():
    assert [name for name, fields in NOT_ON_THE_COMMAND_LINE.items() if not fields <= every_field(name)] == []
