"""Corrections over the API: what they do to usage and totals, and what they keep."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as usage_api
from meterlog.aggregator.v1 import correction_pb2 as api
from services.kernel.errors import AlreadyExists, NotFound, RuleViolated
from services.kernel.timestamp import to_timestamp
from services.projection.projection import RebuildMode
from services.rpc.authorization import Caller, Scope
from services.rpc.interceptor import caller_of_call
from tests.aggregator_room import DAY, WAIT_S, AggregatorRoom, call
from tests.corrected_room import (
    ALL_OF_ANN,
    amend,
    cancel,
    cancel_filtered,
    event_of,
    filled_room,
    name,
    preview,
    revert,
    value,
)
from tests.databases import DATABASES


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    with filled_room(tmp_path) as opened:
        yield opened


@pytest.fixture(params=DATABASES)
def any_room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AggregatorRoom]:
    """The same, on every database."""
    with filled_room(tmp_path, request.param) as opened:
        yield opened


def test_a_cancelled_maximum_gives_way_to_the_next_and_comes_back_when_reverted(any_room: AggregatorRoom) -> None:
    cancel(any_room, "c", name(3), name(2))
    assert (value(any_room), value(any_room, "greatest")) == ("3", "2")

    revert(any_room, "c")
    assert (value(any_room), value(any_room, "greatest")) == ("15", "8")


def test_a_cancelled_hour_without_other_usage_has_no_value(room: AggregatorRoom) -> None:
    cancel(room, "c", *map(name, range(4)))
    assert (value(room), value(room, "greatest")) == ("0", None)


def test_an_amendment_changes_value_and_properties_and_keeps_what_was_recorded(any_room: AggregatorRoom) -> None:
    amend(any_room, "a", 0, value="10.50", properties=api.NewProperties(properties={"region": "us"}))

    rows = any_room.ask(group_by=["region"]).rows
    assert [(row.group["region"], row.value) for row in rows] == [("", "14"), ("us", "10.5")]
    event = event_of(any_room, 0)
    assert (event.value, event.recorded_value) == ("10.5", "1")
    assert (dict(event.properties), dict(event.recorded_properties)) == ({"region": "us"}, {"region": "eu"})
    assert (event.state, list(event.corrections)) == (usage_api.USAGE_STATE_AMENDED, ["a"])


def test_later_amendments_replace_what_earlier_ones_said_field_by_field(room: AggregatorRoom) -> None:
    amend(room, "a", 0, value="10")
    amend(room, "b", 0, properties=api.NewProperties())
    amend(room, "c", 0, value="20")
    assert [(row.group["region"], row.value) for row in room.ask(group_by=["region"]).rows] == [("", "34")]

    revert(room, "c")
    assert value(room) == "24"
    revert(room, "b")
    assert [row.group["region"] for row in room.ask(group_by=["region"]).rows] == ["", "eu"]


def test_every_correction_says_who_decided_when_and_why(room: AggregatorRoom) -> None:
    """flexprice #605 asks for an audit trail of corrections."""
    caller_of_call.set(Caller("ops", frozenset({Scope.ADMIN})))
    cancel(room, "c", name(0), reason="sent twice", decided_by="ann@example.org")
    revert(room, "c")

    shown = room.corrections.get(api.GetCorrectionRequest(key="c")).correction
    assert (shown.decision.reason, shown.decision.decided_by) == ("sent twice", "ann@example.org")
    assert (shown.decision.key_name, shown.reverted.reason) == ("ops", "it was right")
    assert shown.decision.decided_at == to_timestamp(room.clock.now())
    assert shown.decision.position < shown.reverted.position
    assert (shown.usage_event_count, [each.id for each in shown.names]) == (1, ["0-0-0"])


def test_a_preview_says_what_a_cancellation_then_does(any_room: AggregatorRoom) -> None:
    seen = preview(any_room, filter=ALL_OF_ANN)

    assert (seen.usage_event_count, seen.share_millionths, seen.subject_count) == (3, 750_000, 1)
    assert (seen.first_at, seen.last_at) == (to_timestamp(DAY), to_timestamp(DAY + timedelta(hours=2)))
    changes = [(each.meter, each.subject, each.old_value, each.HasField("new_value")) for each in seen.totals]
    assert changes == [("greatest", "ann", "4", False), ("tokens", "ann", "7", True)]
    assert value(any_room) == "15"
    cancel_filtered(any_room, "c", ALL_OF_ANN)
    assert (seen.totals[1].new_value, value(any_room)) == ("0", "8")


def test_a_filter_leaves_alone_what_was_recorded_after_its_preview(room: AggregatorRoom) -> None:
    seen = preview(room, filter=ALL_OF_ANN)
    room.record([call(3, "100")])

    cancel(room, "c", filter=ALL_OF_ANN, expected_count=3, until_position=seen.position)

    assert value(room) == "108"


def test_a_filter_that_would_hit_another_number_is_refused_with_the_number(room: AggregatorRoom) -> None:
    with pytest.raises(RuleViolated) as refusal:
        cancel(room, "c", filter=ALL_OF_ANN, expected_count=4, until_position=room.store.head().position)
    assert refusal.value.reason == "EXPECTED_COUNT_DIFFERS"
    assert "3 usage events, not 4" in refusal.value.message
    assert value(room) == "15"


def test_two_who_previewed_the_same_do_not_both_cancel_it(room: AggregatorRoom) -> None:
    """What counted at the preview may not count any more: then the number is not the one that was agreed to."""
    seen = preview(room, filter=ALL_OF_ANN)
    agreed = {"filter": ALL_OF_ANN, "expected_count": 3, "until_position": seen.position}
    cancel(room, "first", **agreed)

    with pytest.raises(RuleViolated) as refusal:
        cancel(room, "second", **agreed)
    assert (refusal.value.reason, refusal.value.metadata["usage_event_count"]) == ("EXPECTED_COUNT_DIFFERS", "0")


def test_a_filter_by_meter_chooses_what_the_meter_counts(room: AggregatorRoom) -> None:
    condition = usage_api.UsageCondition(
        property="$value", operator=usage_api.CONDITION_OPERATOR_GREATER, values=["1.5"]
    )
    correction = cancel_filtered(room, "c", api.UsageFilter(meter="tokens", conditions=[condition]))

    assert (value(room), list(correction.filter.types), correction.usage_event_count) == ("1", ["call"], 3)


def test_a_filter_can_choose_by_when_usage_was_recorded(room: AggregatorRoom) -> None:
    room.clock.advance(room.clock.now() + timedelta(hours=1))
    since = room.clock.now()
    room.record([call(0, "100")])

    assert preview(room, filter=api.UsageFilter(recorded_from=to_timestamp(since))).usage_event_count == 1
    cancel_filtered(room, "c", api.UsageFilter(recorded_until=to_timestamp(since)))
    assert value(room) == "100"


def test_a_filter_of_ten_thousand_usage_events_is_exact_and_reversible(any_room: AggregatorRoom) -> None:
    for _ in range(4):
        any_room.log.record([call(number % 20, "1", subject="cat", region=str(number % 7)) for number in range(2_500)])
    any_room.catch_up()
    assert value(any_room) == "10015"

    cancel_filtered(any_room, "c", api.UsageFilter(subjects=["cat"]))
    assert value(any_room) == "15"
    revert(any_room, "c")
    assert value(any_room) == "10015"


def test_a_correction_is_safe_to_repeat_and_its_key_is_taken_for_other_content(room: AggregatorRoom) -> None:
    first = cancel(room, "c", name(0))
    head = room.store.head().position
    room.record([call(5, "0")])

    assert cancel(room, "c", name(0)) == first
    assert room.store.head().position == head + 1
    with pytest.raises(AlreadyExists) as refusal:
        cancel(room, "c", name(1))
    assert refusal.value.reason == "CORRECTION_EXISTS"
    with pytest.raises(AlreadyExists):
        amend(room, "c", 0, value="1")
    assert revert(room, "c") == revert(room, "c")


def test_names_are_found_at_their_position_or_by_a_search(room: AggregatorRoom) -> None:
    position = room.record([call(3, "100")])
    by_search = api.UsageName(source="test", id="0-1-0")
    assert cancel(room, "a", by_search).names[0].position == position
    assert cancel(room, "b", name(0, event_of(room, 0).position)).usage_event_count == 1

    for wrong in (name(0, position), api.UsageName(source="test", id="nowhere")):
        with pytest.raises(NotFound) as refusal:
            cancel(room, "x", wrong)
        assert refusal.value.reason == "USAGE_EVENT_NOT_FOUND"


def test_a_list_shows_where_usage_events_stand(room: AggregatorRoom) -> None:
    cancel(room, "c", name(0))
    cancel_filtered(room, "f", api.UsageFilter(subjects=["bob"]))
    amend(room, "a", 1, value="3")

    def listed(**fields: Any) -> list[tuple[str, list[str]]]:
        page = room.usage_events.list(usage_api.ListUsageEventsRequest(**fields), WAIT_S)
        return [(each.id, list(each.corrections)) for each in page.events]

    assert listed(state=usage_api.USAGE_STATE_CANCELLED) == [("0-0-0", ["c"]), ("0-0-3", ["f"])]
    assert listed(state=usage_api.USAGE_STATE_AMENDED) == [("0-0-1", ["a"])]
    assert listed(state=usage_api.USAGE_STATE_COUNTED, meter="tokens") == [("0-0-2", [])]
    is_three = usage_api.UsageCondition(property="$value", operator=usage_api.CONDITION_OPERATOR_EQUALS, values=["3"])
    assert listed(conditions=[is_three]) == [("0-0-1", ["a"])]


def test_corrections_are_listed_newest_first_page_by_page(any_room: AggregatorRoom) -> None:
    for number in range(3):
        cancel(any_room, f"c{number}", name(number))

    first = any_room.corrections.list(api.ListCorrectionsRequest(page_size=2))
    second = any_room.corrections.list(api.ListCorrectionsRequest(page_size=2, page_token=first.next_page_token))
    assert [each.key for each in (*first.corrections, *second.corrections)] == ["c2", "c1", "c0"]
    assert second.next_page_token == ""


def test_a_rebuild_of_corrected_usage_equals_what_is_live(any_room: AggregatorRoom) -> None:
    cancel_filtered(any_room, "f", ALL_OF_ANN)
    amend(any_room, "a", 3, value="9")
    revert(any_room, "f")

    comparison = any_room.windows.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=lambda _: None)
    assert comparison.is_equal


def test_an_amended_value_has_its_one_text(room: AggregatorRoom) -> None:
    assert amend(room, "a", 0, value="-007.500").value == "-7.5"
    assert Decimal(value(room) or "") == Decimal("6.5")
