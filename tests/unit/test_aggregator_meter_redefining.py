"""Meters redefined and previewed over the API: what is counted anew, what a preview says, what is refused."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.kernel.clock import epoch_us
from services.kernel.errors import InvalidInput, NotFound, RuleViolated, TimedOut
from services.kernel.timestamp import to_timestamp
from tests.aggregator_room import DAY, WAIT_S, AggregatorRoom, call, folded, open_room

HOUR = timedelta(hours=1)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    with open_room(tmp_path) as room:
        yield room


def value(room: AggregatorRoom, meter: str = "tokens", **fields: Any) -> list[str]:
    return [row.value for row in room.ask(meter, **fields).rows]


def tokens(**said: Any) -> api.Meter:
    call = {"event_type": "call", "aggregation": api.AGGREGATION_SUM, "group_by": ["region"]}
    return api.Meter(**{"slug": "tokens", **call, **said})


def redefine(room: AggregatorRoom, hours: float | None, version: int = 1, **said: Any) -> api.Meter:
    request = api.RedefineMeterRequest(slug="tokens", meter=tokens(**said), expected_version=version)
    if hours is not None:
        request.effective_from.CopyFrom(to_timestamp(DAY + timedelta(hours=hours)))
    return room.meters.redefine(request, WAIT_S).meter


def preview(room: AggregatorRoom, hours: float | None = None, **said: Any) -> api.PreviewMeterResponse:
    start_at, end_at = to_timestamp(DAY), to_timestamp(DAY + timedelta(days=1))
    request = api.PreviewMeterRequest(meter=tokens(**said), start_at=start_at, end_at=end_at)
    if hours is not None:
        request.effective_from.CopyFrom(to_timestamp(DAY + timedelta(hours=hours)))
    return room.meters.preview(request, WAIT_S)


def test_a_redefined_meter_counts_anew_from_its_time_on_and_late_usage_by_its_own_time(room: AggregatorRoom) -> None:
    room.create()
    room.record([call(1, "10", region="eu"), call(5, "100", region="us", tier="gold", input="2", output="3")])

    meter = redefine(room, 4, group_by=["region", "tier"], value_expression="input + 3 * output")
    assert (meter.version, meter.effective_from) == (2, to_timestamp(DAY + timedelta(hours=4)))
    assert value(room) == ["21"]

    room.record([call(2, "1", region="eu", tier="gold"), call(6, "1000", input="1", output="0", region="eu")])
    answer = room.ask(group_by=["region", "tier"])
    assert [(row.group["region"], row.group["tier"], row.value) for row in answer.rows] == [
        ("eu", "", "12"),
        ("us", "gold", "11"),
    ]
    assert value(room, start_at=to_timestamp(DAY + timedelta(hours=1.5))) == ["13"]


def test_versions_are_listed_oldest_first_and_the_meter_shows_the_latest(room: AggregatorRoom) -> None:
    room.create()
    redefine(room, 4, value_property="size")
    redefine(room, None, 2, aggregation=api.AGGREGATION_PERCENTILE, percentile="95")
    room.meters.update(api.UpdateMeterRequest(slug="tokens", display_name="All tokens"), WAIT_S)

    versions = room.meters.versions(api.ListMeterVersionsRequest(slug="tokens")).versions

    assert [(each.version, each.value_property, each.percentile, each.display_name) for each in versions] == [
        (1, "", "", "tokens"),
        (2, "size", "", "tokens"),
        (3, "", "95", "All tokens"),
    ]
    assert room.meters.get(api.GetMeterRequest(slug="tokens")).meter == versions[-1]
    assert list(room.meters.list(api.ListMetersRequest()).meters) == [versions[-1]]
    with pytest.raises(NotFound):
        room.meters.versions(api.ListMeterVersionsRequest(slug="nobody"))


def test_an_answer_as_of_a_position_is_counted_as_the_meter_was_defined_there(room: AggregatorRoom) -> None:
    room.create()
    before = room.record([call(5, "100", size="7")])
    redefine(room, None, value_property="size")

    assert value(room) == ["7"]
    assert value(room, as_of=before) == ["100"]


def test_another_aggregation_for_all_times_leaves_no_state_of_the_old_one(room: AggregatorRoom) -> None:
    room.create()
    room.record([call(1, "10"), call(2, "30"), call(3, "20")])

    for version, aggregation, expected in (
        (1, "MAX", "30"),
        (2, "LAST", "20"),
        (3, "UNIQUE_COUNT", "3"),
        (4, "COUNT", "3"),
        (5, "WEIGHTED_SUM", "460"),
        (6, "AVG", "20"),
    ):
        redefine(room, None, version, aggregation=api.Aggregation.Value(f"AGGREGATION_{aggregation}"))
        assert value(room) == [expected]
    with folded(room.log) as rebuilt, room.windows.read() as (connection, tables):
        for table in ("amounts", "moments", "texts", "meter_hours"):
            live = connection.execute(getattr(tables, table).select()).all()
            assert sorted(map(tuple, live), key=str) == sorted(
                map(tuple, rebuilt.snapshot.connection.execute(getattr(rebuilt.snapshot.tables, table).select())),
                key=str,
            )


def test_a_preview_of_a_new_meter_says_what_it_would_count_of_past_usage_and_writes_nothing(
    room: AggregatorRoom,
) -> None:
    """polar #5345: a new meter billed old usage by surprise."""
    room.record([call(1, "10", region="eu"), call(2, "5", region="us"), call(3, "7", "bob"), call(30, "1000")])
    head = room.store.head().position

    said = preview(room)

    assert [(each.subject, each.HasField("current_value"), each.new_value) for each in said.changes] == [
        ("ann", False, "15"),
        ("bob", False, "7"),
    ]
    assert (said.changed_subject_count, said.usage_event_count, said.counted_count, said.group_count) == (2, 3, 3, 3)
    assert room.store.head().position == head == said.position
    with pytest.raises(NotFound):
        room.meters.get(api.GetMeterRequest(slug="tokens"))


def test_a_preview_says_whose_total_changes_by_how_much_greatest_first(room: AggregatorRoom) -> None:
    room.create()
    room.record([call(1, "10", size="10"), call(2, "5", "bob", size="50"), call(3, "7", "cat"), call(1, "1", "dan")])

    said = preview(room, value_expression="size * 2")

    assert [(each.subject, each.current_value, each.new_value) for each in said.changes] == [
        ("bob", "5", "100"),
        ("ann", "10", "20"),
        ("cat", "7", "0"),
        ("dan", "1", "0"),
    ]
    assert (said.changed_subject_count, said.counted_count, said.unreadable_count) == (4, 2, 2)
    assert [each.subject for each in preview(room, 2, value_expression="size * 2").changes] == ["bob", "cat"]
    assert preview(room).changed_subject_count == 0


def test_a_preview_tells_usage_that_is_filtered_out_from_usage_that_cannot_be_read(room: AggregatorRoom) -> None:
    room.record([call(1, a="6", b="2"), call(1, a="6", b="0"), call(1, a="6"), call(1, a="x", b="1"), call(1)])
    exists = api.UsageCondition(property="a", operator=api.CONDITION_OPERATOR_EXISTS)

    said = preview(room, value_expression="a / b", filters=[exists])

    assert (said.usage_event_count, said.counted_count, said.unreadable_count) == (5, 1, 3)
    assert [each.new_value for each in said.changes] == ["3"]


@pytest.mark.parametrize(
    ("aggregation", "expected"), [("WEIGHTED_SUM", "70"), ("PERCENTILE", "3"), ("UNIQUE_COUNT", "2"), ("FIRST", "2")]
)
def test_a_preview_counts_by_any_aggregation(room: AggregatorRoom, aggregation: str, expected: str) -> None:
    room.record([call(-1, "2"), call(1, "2"), call(2, "3")])
    percentile = "99" if aggregation == "PERCENTILE" else ""

    said = preview(room, aggregation=api.Aggregation.Value(f"AGGREGATION_{aggregation}"), percentile=percentile)

    assert [each.new_value for each in said.changes] == [expected]
    assert said.group_count == 1


def test_a_preview_that_cannot_be_redefined_so_is_refused_the_same_way(room: AggregatorRoom) -> None:
    with pytest.raises(InvalidInput, match="leave it unset"):
        preview(room, 1)
    room.create()
    with pytest.raises(InvalidInput, match="cannot change from a time on"):
        preview(room, 1, aggregation=api.AGGREGATION_MAX)


def test_a_preview_is_given_up_at_its_deadline(room: AggregatorRoom) -> None:
    room.record([call(0.5)])
    request = api.PreviewMeterRequest(meter=tokens(), start_at=to_timestamp(DAY), end_at=to_timestamp(DAY + HOUR))
    with pytest.raises(TimedOut):
        room.meters.preview(request, 0.0)


def test_a_redefinition_without_a_version_or_of_another_slug_is_refused(room: AggregatorRoom) -> None:
    room.create()
    for request, field in (
        (api.RedefineMeterRequest(slug="tokens", meter=tokens()), "expected_version"),
        (api.RedefineMeterRequest(slug="tokens", meter=tokens(slug="other"), expected_version=1), "meter.slug"),
    ):
        with pytest.raises(InvalidInput) as refusal:
            room.meters.redefine(request, WAIT_S)
        assert refusal.value.field == field


def test_a_meter_with_too_many_groups_in_past_usage_is_not_created(
    room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.aggregator.meters.many_groups.require_few_groups.__defaults__", (3,))
    room.record([call(1, region=str(number)) for number in range(3)])
    room.create()
    room.record([call(2, region="4", request=str(number)) for number in range(4)])

    with pytest.raises(RuleViolated, match="more than 3 different groups") as refusal:
        room.create("other")
    assert refusal.value.reason == "TOO_MANY_GROUPS"
    with pytest.raises(RuleViolated, match="grouped by request has more than 3 different groups"):
        redefine(room, None, group_by=["request"])
    assert room.create("other", filters=[_is_in("region", "1", "2")]).version == 1
    assert redefine(room, None, group_by=[]).version == 2


def _is_in(key: str, *values: str) -> api.UsageCondition:
    return api.UsageCondition(property=key, operator=api.CONDITION_OPERATOR_IN, values=values)


def test_an_hour_with_too_many_groups_is_warned_of_once(room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.aggregator.meters.group_growth.HOUR_GROUPS_MAX", 2)
    room.create()
    with capture_logs() as logs:
        room.record([call(1, region=str(number)) for number in range(3)])
        room.record([call(2, region="1")])
        room.record([call(2, region="1")])
        room.record([call(3, region="1")])

    warned = [line for line in logs if line["log_level"] == "warning"]
    assert [(line["meter"], line["hour_us"]) for line in warned] == [("tokens", epoch_us(DAY + timedelta(hours=1)))]


def test_filters_are_shown_as_they_were_sent(room: AggregatorRoom) -> None:
    operators = [number for name, number in api.ConditionOperator.items() if not name.endswith("UNSPECIFIED")]
    without_values = {api.CONDITION_OPERATOR_EXISTS, api.CONDITION_OPERATOR_NOT_EXISTS}
    filters = [
        api.UsageCondition(property="size", operator=operator, values=() if operator in without_values else ("1.50",))
        for operator in operators
    ]

    room.create(filters=filters)

    assert list(room.meters.get(api.GetMeterRequest(slug="tokens")).meter.filters) == filters
    room.record([call(1)])
    assert value(room) == ["0"]


def test_a_filter_without_an_operator_is_refused_by_its_field(room: AggregatorRoom) -> None:
    with pytest.raises(InvalidInput) as refusal:
        room.create(filters=[api.UsageCondition(property="size", values=["1"])])
    assert (refusal.value.field, refusal.value.reason) == ("meter.filters[0].operator", "UNKNOWN_OPERATOR")
