"""The sessions of the guides print what the guides say, against services that really run."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from meterlog.client import Meter, Meterlog
from services.cli.platform import Platform
from tests.guide_session import GUIDES, Shown, masked, platform_without_periods, printed, ran_in_python, shown_below

CALLS = (
    ("1", "call", "ann", "01:00", {"value": 10, "region": "eu", "input": 100, "output": 20}),
    ("2", "call", "ann", "05:00", {"value": 30, "region": "us", "input": 7, "output": 0}),
    ("3", "call", "ann", "05:30", {"value": 20, "region": "eu", "input": 50}),
    ("4", "call", "ann", "23:00", {"value": 0, "region": "eu"}),
    ("5", "call", "bob", "12:00", {"input": 40, "output": 1}),
    ("6", "cal", "bob", "12:00", {}),
)
"""The day of the guide about meters, bob's call beside it, and one whose type is mistyped."""


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with platform_without_periods(tmp_path / "var") as platform:
        yield platform


def said_and_printed(session: list[Shown], tmp_path: Path) -> tuple[list[list[str]], list[list[str]]]:
    shims = tmp_path / "shims"
    shims.mkdir()
    said = [[shown.command, *masked(shown.lines)] for shown in session]
    found = [[shown.command, *masked(printed(shown.command, tmp_path / "var", shims))] for shown in session]
    return said, found


@pytest.mark.usefixtures("platform")
def test_cloud_events_are_sent_and_reported_as_the_guide_about_recording_says(tmp_path: Path) -> None:
    headings = ("## CloudEvents", "## What was not taken")
    session = [shown for heading in headings for shown in shown_below("recording-usage.md", heading)]
    said, found = said_and_printed(session, tmp_path)
    assert len(said) == 5
    assert found == said


@pytest.mark.usefixtures("platform")
def test_cloud_events_are_imported_as_the_guide_about_importing_says(tmp_path: Path) -> None:
    said, found = said_and_printed(shown_below("importing.md", "## CloudEvents"), tmp_path)
    assert len(said) == 2
    assert found == said


def test_usage_is_asked_for_as_the_guide_about_querying_says(platform: Platform, tmp_path: Path) -> None:
    with Meterlog(platform.addresses["ingest"], aggregator=platform.addresses["aggregator"]) as meterlog:
        meterlog.record_cloud_events("[" + ",".join(map(cloud_event, CALLS)) + "]")
        meterlog.meters.create(Meter("tokens", "call", "sum", value_property="input", group_by=["region"]))
        meterlog.meters.create(Meter("calls", "call", "count"))
    session = shown_below("querying-usage.md", "## From the command line")
    # A watch tells changes as they come, so what it says depends on when it is asked.
    asked = [shown for shown in session if " watch " not in shown.command]
    said, found = said_and_printed(asked, tmp_path)
    assert (len(said), len(session)) == (4, 5)
    assert found == said


def cloud_event(call: tuple[str, str, str, str, dict[str, object]]) -> str:
    id_, type_, subject, time, data = call
    return json.dumps(
        {
            "specversion": "1.0",
            "id": id_,
            "source": "s",
            "type": type_,
            "subject": subject,
            "time": f"2024-03-31T{time}:00Z",
            "data": data,
        }
    )


def test_the_session_with_the_sdk_prints_what_its_guide_says(platform: Platform) -> None:
    text = (GUIDES / "sdk.md").read_text()
    session, said = ("".join(blocks(text, language)) for language in ("python", "text"))
    ran = ran_in_python(session, platform.addresses)
    assert (masked(ran.stdout.splitlines()), ran.stderr) == (said.splitlines(), "")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
