"""What was sent and not taken is counted by client, reason and field, so that somebody sees it."""

from collections.abc import Iterator, Sequence
from contextvars import copy_context
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from meterlog.ingest.v1.ingest_pb2 import GetUsageReportRequest, UsageOutcome
from services.ingest import admission, usage_report
from services.ingest.problem import Problem
from services.ingest.recording import nothing_recorded
from services.ingest.usage_report import UsageReport
from services.kernel.clock import SimulatedClock
from services.kernel.errors import InvalidInput, Overloaded
from services.kernel.timestamp import from_timestamp
from services.rpc.authorization import Caller, Scope
from services.rpc.interceptor import caller_of_call
from tests.ingest_room import NOON, Replica, Room, open_room, usage
from tests.sent_arrow import columns, send


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with open_room(tmp_path) as opened:
        yield opened


@pytest.fixture
def replica(room: Room) -> Iterator[Replica]:
    with room.replica() as opened:
        yield opened


def report(room: Room, replica: Replica) -> Any:
    return room.runner.run(replica.face.GetUsageReport(GetUsageReportRequest(), None))  # type: ignore[arg-type]  # none


def rows(room: Room, replica: Replica) -> set[tuple[str, str, str, str, int]]:
    return {
        (row.client, UsageOutcome.Name(row.outcome).removeprefix("USAGE_OUTCOME_"), row.reason, row.field, row.count)
        for row in report(room, replica).rows
    }


def test_every_door_is_counted_by_outcome_reason_and_field(room: Room, replica: Replica) -> None:
    room.send(replica, usage("e-1"), usage("e-2", "NaN"), usage("e-1"))
    send(room, replica, columns("e-1", "e-1", "e-3", "", value=["1", "2", "1", "1"]))

    assert rows(room, replica) == {
        ("everybody", "RECORDED", "", "", 2),
        ("everybody", "DUPLICATE", "", "", 2),
        ("everybody", "CONFLICT", "OTHER_CONTENT_RECORDED", "", 1),
        ("everybody", "INVALID", "VALUE_NOT_DECIMAL", "value", 1),
        ("everybody", "INVALID", "ID_EMPTY", "id", 1),
    }


def test_whole_requests_that_were_refused_are_counted_too(
    room: Room, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content in (b"", columns("e-1", value=[1.5])):
        with pytest.raises(InvalidInput):
            send(room, replica, content)
    with pytest.raises(InvalidInput):
        room.send(replica)
    monkeypatch.setattr(admission, "USAGE_EVENTS_ADMITTED_MAX", 0)
    for _ in range(2):
        with pytest.raises(Overloaded):
            room.send(replica, usage("e-1"))

    assert rows(room, replica) == {
        ("everybody", "UNSPECIFIED", "ARROW_TRUNCATED", "arrow_ipc", 1),
        ("everybody", "UNSPECIFIED", "ARROW_SCHEMA", "arrow_ipc.value", 1),
        ("everybody", "UNSPECIFIED", "BATCH_SIZE", "events", 1),
        ("everybody", "UNSPECIFIED", "OVERLOADED", "", 2),
    }


def test_the_last_message_tells_what_to_do_and_when_it_was(room: Room, replica: Replica) -> None:
    room.send(replica, usage("e-1", "first"))
    room.clock.advance(NOON + timedelta(minutes=5))
    room.send(replica, usage("e-1", "second"))

    found = report(room, replica)

    assert "'second'" in found.rows[0].last_message
    assert from_timestamp(found.since) == NOON
    assert from_timestamp(found.rows[0].last_at) == NOON + timedelta(minutes=5)


def test_clients_are_told_apart_by_the_names_of_their_keys(room: Room, replica: Replica) -> None:
    async def by_edge() -> None:
        caller_of_call.set(Caller("edge", frozenset({Scope.INGEST})))
        await replica.send(usage("e-1"))

    room.runner.run(by_edge(), context=copy_context())
    room.send(replica, usage("e-1"))

    assert rows(room, replica) == {("edge", "RECORDED", "", "", 1), ("everybody", "DUPLICATE", "", "", 1)}


def counted(found: UsageReport, reasons: Sequence[str], client: str = "a") -> None:
    found.count(client, {row: Problem(text, "value", "m") for row, text in enumerate(reasons)}, nothing_recorded(0))


def test_the_rows_are_bounded_and_nothing_is_left_uncounted() -> None:
    found = UsageReport(SimulatedClock(NOON))
    counted(found, [f"REASON_{number}" for number in range(5_000)])
    for client in range(500):
        counted(found, ["LATE", "LATE"], f"client-{client}")

    tallies = found.rows()

    assert len(tallies) <= usage_report.ROWS_MAX
    assert sum(tally.count for tally in tallies.values()) == 6_000
    assert {cause.reason for cause in tallies if not cause.reason.startswith("REASON_")} == {"OTHER_REASONS"}
    assert "OTHER_CLIENTS" in {cause.client for cause in tallies}


def test_one_line_a_minute_and_reason_is_logged_and_nothing_that_a_client_wrote() -> None:
    clock = SimulatedClock(NOON)
    found = UsageReport(clock)
    with capture_logs() as lines:
        counted(found, ["BAD"] * 3)
        counted(found, ["BAD", "WORSE"])
        clock.advance(NOON + timedelta(minutes=1))
        counted(found, ["BAD"])

    assert [(line["reason"], line["count_so_far"]) for line in lines] == [("BAD", 3), ("WORSE", 1), ("BAD", 5)]
    assert {key for line in lines for key in line} == {"event", "log_level", "client", "reason", "count_so_far"}
