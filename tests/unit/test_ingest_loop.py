"""Whoever sends one small usage event waits for nobody's huge one: work is weighed by what it is, not only by rows."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from meterlog.ingest.v1.ingest_pb2 import RecordCloudEventsRequest
from services.ingest import group_recorder, server
from services.ingest.index_runs import Runs
from tests.ingest_room import NOON, Replica, Room, open_room, usage, words


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with open_room(tmp_path) as opened:
        yield opened


@pytest.fixture
def replica(room: Room) -> Iterator[Replica]:
    with room.replica() as opened:
        yield opened


def threads_of(holder: object, name: str, monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads in which that function will have been called."""
    threads: list[threading.Thread] = []
    function = getattr(holder, name)

    def noted(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return function(*arguments)

    monkeypatch.setattr(holder, name, noted)
    return threads


def test_one_usage_event_with_a_huge_property_map_is_judged_off_the_loop(
    room: Room, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = threads_of(server, "validate", monkeypatch)

    small = room.send(replica, usage("small"))
    huge = room.send(replica, usage("huge", **{f"k{number}": "1" for number in range(100_000)}), usage("beside"))

    assert words(small.results) == ["recorded"]
    assert [result.reason for result in huge.results] == ["PROPERTIES_TOO_MANY", ""]
    assert "100000 properties" in huge.results[0].message
    assert [thread is threading.main_thread() for thread in threads] == [True, False]


def test_one_cloud_event_of_huge_json_is_read_off_the_loop(
    room: Room, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = threads_of(server, "cloud_events", monkeypatch)
    event = {"specversion": "1.0", "id": "huge", "source": "gateway", "type": "t", "subject": "s"}
    data = {f"k{number}": 1 for number in range(100_000)}
    content = json.dumps({**event, "time": NOON.isoformat(), "data": data}).encode()

    request = RecordCloudEventsRequest(json=content)
    response = room.runner.run(replica.face.RecordCloudEvents(request, cast(Any, None)))

    assert words(response.results) == ["invalid"]
    assert threads, "it was read"
    assert threading.main_thread() not in threads


@pytest.mark.parametrize(
    ("rows", "properties"),
    [(600, {"text": "x" * 1_024}), (150, {f"k{number}": "1" for number in range(64)})],
    ids=["long texts", "many properties"],
)
def test_few_large_usage_events_become_columns_off_the_loop(
    room: Room, replica: Replica, monkeypatch: pytest.MonkeyPatch, rows: int, properties: dict[str, str]
) -> None:
    threads = threads_of(group_recorder, "joined", monkeypatch)

    response = room.send(replica, *[usage(f"e-{row}", **properties) for row in range(rows)])

    assert words(response.results) == ["recorded"] * rows
    assert [thread is threading.main_thread() for thread in threads] == [False]


def test_a_spill_that_is_due_waits_for_the_disk_off_the_loop(
    room: Room, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = threads_of(Runs, "add", monkeypatch)

    for number in range(20):
        assert room.outcomes(replica, usage(f"e-{number}")) == ["recorded"]

    assert threads, "the index spills every eight folds"
    assert threading.main_thread() not in threads
