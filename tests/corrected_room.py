"""A room with some usage to correct, and the calls that correct it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from meterlog.aggregator.v1 import aggregator_pb2 as usage_api
from meterlog.aggregator.v1 import correction_pb2 as api
from services.rpc.authorization import EVERYBODY
from services.rpc.interceptor import caller_of_call
from tests.aggregator_room import WAIT_S, AggregatorRoom, call, open_room
from tests.databases import USUAL

ALL_OF_ANN = api.UsageFilter(subjects=["ann"])


@contextmanager
def filled_room(folder: Path, database: str = USUAL) -> Iterator[AggregatorRoom]:
    """Ann's calls of 1, 2 and 4 and bob's of 8, a sum of them by region, and their greatest."""
    token = caller_of_call.set(EVERYBODY)
    with open_room(folder, database=database) as opened:
        opened.create("tokens")
        opened.create("greatest", aggregation=usage_api.AGGREGATION_MAX, group_by=[])
        opened.record([call(0, "1", region="eu"), call(1, "2"), call(2, "4"), call(2, "8", subject="bob")])
        yield opened
    caller_of_call.reset(token)


def name(row: int, position: int = 0) -> api.UsageName:
    return api.UsageName(source="test", id=f"0-0-{row}", position=position)


def value(room: AggregatorRoom, meter: str = "tokens", **fields: Any) -> str | None:
    (row,) = room.ask(meter, **fields).rows
    return row.value if row.HasField("value") else None


def cancel(room: AggregatorRoom, key: str, *names: api.UsageName, **fields: Any) -> api.Correction:
    request = api.CancelUsageRequest(**{"key": key, "names": names, "reason": "wrong", **fields})
    return room.corrections.cancel(request, WAIT_S).correction


def preview(room: AggregatorRoom, **fields: Any) -> api.PreviewCancellationResponse:
    return room.corrections.preview(api.PreviewCancellationRequest(**fields), WAIT_S)


def cancel_filtered(room: AggregatorRoom, key: str, chooser: api.UsageFilter) -> api.Correction:
    seen = preview(room, filter=chooser)
    return cancel(room, key, filter=chooser, expected_count=seen.usage_event_count, until_position=seen.position)


def amend(room: AggregatorRoom, key: str, row: int, **fields: Any) -> api.Correction:
    request = api.AmendUsageRequest(**{"key": key, "name": name(row), "reason": "mistyped", **fields})
    return room.corrections.amend(request, WAIT_S).correction


def revert(room: AggregatorRoom, key: str) -> api.Correction:
    return room.corrections.revert(api.RevertCorrectionRequest(key=key, reason="it was right"), WAIT_S).correction


def event_of(room: AggregatorRoom, row: int) -> usage_api.RecordedUsageEvent:
    request = usage_api.GetUsageEventRequest(source="test", id=f"0-0-{row}")
    return room.usage_events.get(request, WAIT_S).event
