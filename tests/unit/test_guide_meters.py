"""The numbers in the guide about meters are those that the aggregator gives."""

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.kernel.timestamp import to_timestamp
from tests.aggregator_room import DAY, WAIT_S, AggregatorRoom, open_room
from tests.plain_usage import Event

GUIDE = (Path(__file__).resolve().parent.parent.parent / "docs/guides/meters.md").read_text()


def rows_under(header: str) -> list[list[str]]:
    """The rows of the table with that header line."""
    _, behind = GUIDE.split(header + "\n", 1)
    lines = behind.split("\n\n", 1)[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


USAGE = rows_under("| time | value | properties |")
METERS = rows_under("| aggregation | besides | the day |")


def usage_event(row: list[str]) -> Event:
    hours, minutes = map(int, row[0].split(":"))
    properties = dict(pair.split("=", 1) for pair in row[2].split())
    return Event("call", "ann", DAY + timedelta(hours=hours, minutes=minutes), Decimal(row[1]), properties)


def meter_fields(besides: str) -> dict[str, Any]:
    if not besides:
        return {}
    key, text = re.fullmatch(r"`(\w+): (.+)`", besides).groups()  # type: ignore[union-attr]  # else the guide is wrong
    if key != "filter":
        return {key: text}
    name, operator, *values = text.split()
    number = api.ConditionOperator.Value(f"CONDITION_OPERATOR_{operator.upper()}")
    return {"filters": [api.UsageCondition(property=name, operator=number, values=values)]}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AggregatorRoom]:
    with open_room(tmp_path_factory.mktemp("guide")) as room:
        room.record([usage_event(row) for row in USAGE])
        yield room


def test_the_guide_shows_every_aggregation() -> None:
    shown = {f"AGGREGATION_{aggregation.strip('`').upper()}" for aggregation, _, _ in METERS}
    assert shown == {*api.Aggregation.keys()} - {"AGGREGATION_UNSPECIFIED"}


@pytest.mark.parametrize("row", METERS, ids=lambda row: f"{row[0]} {row[1]}".strip())
def test_a_meter_says_of_the_day_what_the_guide_says(room: AggregatorRoom, row: list[str]) -> None:
    aggregation = api.Aggregation.Value(f"AGGREGATION_{row[0].strip('`').upper()}")
    slug = f"m{METERS.index(row)}"
    room.create(slug, aggregation=aggregation, group_by=[], **meter_fields(row[1]))

    assert [answered.value for answered in room.ask(slug).rows] == [row[2]]


def test_the_preview_and_the_redefinition_say_what_the_guide_says(room: AggregatorRoom) -> None:
    said: dict[str, Any] = {"event_type": "call", "aggregation": api.AGGREGATION_SUM, "group_by": ["region"]}
    room.create("tokens", value_property="input")
    meter = api.Meter(slug="tokens", value_expression="input + 3 * output", **said)
    start_at, end_at = to_timestamp(DAY), to_timestamp(DAY + timedelta(days=1))

    previewed = room.meters.preview(api.PreviewMeterRequest(meter=meter, start_at=start_at, end_at=end_at), WAIT_S)
    shown = "".join(f"    {line}\n" for line in str(previewed).splitlines() if not line.startswith("position"))
    assert shown in GUIDE

    effective_from = to_timestamp(DAY + timedelta(hours=5))
    room.meters.redefine(
        api.RedefineMeterRequest(slug="tokens", meter=meter, effective_from=effective_from, expected_version=1), WAIT_S
    )
    assert [row.value for row in room.ask().rows] == ["107"]
