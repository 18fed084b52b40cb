"""From the command line: a decision is waited for, with how far its count is, or not."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from services.cli.__main__ import main
from services.cli.counting import counting_text
from tests.aggregator_room import AggregatorRoom
from tests.corrected_room import filled_room, value
from tests.held_count import HeldCount
from tests.served_room import served_room

CREATE = ("meters", "create", "calls", "--event-type", "call", "--aggregation", "count")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    with filled_room(tmp_path) as opened:
        yield opened


@pytest.fixture
def held(room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldCount]:
    hold = HeldCount(monkeypatch)
    yield hold
    hold.let_go()


@pytest.fixture(autouse=True)
def address(room: AggregatorRoom, held: HeldCount, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with served_room(room) as served:
        for name in ("INGEST", "AGGREGATOR", "RATING", "NOTIFIER"):
            monkeypatch.setenv(f"METERLOG_{name}_ADDRESS", served)
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr("services.cli.counting.SHOWN_AFTER_S", 0.0)
        yield served


def run(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["meterlog", *arguments])
        return main()


def document(printed: str) -> Any:
    """The JSON among the lines that the services log."""
    return json.JSONDecoder().raw_decode(printed, printed.index("{\n"))[0]


def test_a_meter_is_shown_when_it_is_counted_and_how_far_it_is_before(
    room: AggregatorRoom, held: HeldCount, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held.arm()
    monkeypatch.setattr("services.cli.counting.counting_text", shown_then(held.let_go))
    assert run(*CREATE) == 0
    printed = capsys.readouterr().out
    assert "counting: 4 of 4 usage events (100 %)" in printed
    assert "count in call" in printed
    assert "being counted" not in printed
    assert value(room, "calls") == "4"


def shown_then(go_on: Callable[[], None]) -> Callable[[aggregator.Counting], str]:
    def shown(counting: aggregator.Counting) -> str:
        if counting.done_count:
            go_on()
        return counting_text(counting)

    return shown


def test_who_does_not_wait_sees_that_it_is_being_counted(held: HeldCount, capsys: pytest.CaptureFixture[str]) -> None:
    held.arm()
    assert run(*CREATE, "--no-wait") == 0
    assert "count in call; being counted" in capsys.readouterr().out
    held.wait()
    assert run("meters", "counting") == 0
    assert "meter calls: counting: 4 of 4 usage events (100 %)" in capsys.readouterr().out.replace("\n", " ")

    threading.Timer(0.05, held.let_go).start()
    assert run("meters", "counting", "--wait", "--json") == 0
    found = document(capsys.readouterr().out)
    assert (found["position"], found["counting"]) == (found["head_position"], None)


@pytest.mark.parametrize("wait", ["--wait", "--no-wait"])
def test_a_correction_is_waited_for_or_not(room: AggregatorRoom, capsys: pytest.CaptureFixture[str], wait: str) -> None:
    command = ("corrections", "amend", "typo", "--source", "test", "--id", "0-0-0", "--value", "9", "--reason", "typo")
    assert run(*command, wait) == 0
    room.catch_up()
    assert value(room) == "23"
    capsys.readouterr()
    assert run("corrections", "revert", "typo", "--reason", "it was right", wait, "--json") == 0
    assert document(capsys.readouterr().out)["reverted"]["reason"] == "it was right"
    room.catch_up()
    assert value(room) == "15"


def test_a_count_that_stands_still_is_not_waited_for_for_ever(
    room: AggregatorRoom, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise ValueError("a meter that this release cannot fold")

    monkeypatch.setattr("services.aggregator.usage_windows.fold_meter", refuse)
    monkeypatch.setattr("services.cli.counting.TROUBLE_MAX_S", 0.0)
    assert run(*CREATE) == 1
    said = capsys.readouterr().err.replace("\n", " ")
    position = room.store.head().position
    assert f"what was decided is in the log, at position {position}, and usage does not say so yet" in said
    assert "cannot fold" in said


@pytest.mark.parametrize(
    ("counting", "text"),
    [
        (aggregator.Counting(), "waiting for its turn"),
        (
            aggregator.Counting(step=aggregator.COUNTING_STEP_SEARCHING, done_count=1, total_count=3),
            "looking for what it touches: 1 of 3 usage events (33 %)",
        ),
        (
            aggregator.Counting(step=aggregator.COUNTING_STEP_COUNTING, done_count=1, total_count=4, seconds_left=3),
            "counting: 1 of 4 usage events (25 %), about 3 s left",
        ),
    ],
)
def test_how_far_a_count_is_in_words(counting: aggregator.Counting, text: str) -> None:
    assert counting_text(counting) == text
