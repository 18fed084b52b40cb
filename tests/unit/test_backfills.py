"""Backfills over the API: usage is held back until they are closed, may replace what was there, and can be undone."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as usage_api
from meterlog.aggregator.v1 import correction_pb2 as api
from meterlog.events.v1.correction_pb2 import BackfillClosed
from services.aggregator.deadline import Deadline
from services.eventstore.catalogue import encode
from services.eventstore.event import StreamName
from services.kernel.errors import AlreadyExists, InvalidInput, NotFound, RuleViolated
from services.kernel.timestamp import to_timestamp
from services.rpc.authorization import EVERYBODY
from services.rpc.interceptor import caller_of_call
from tests.aggregator_room import DAY, WAIT_S, AggregatorRoom, call, open_room

THE_DAY: dict[str, Any] = {"start_at": to_timestamp(DAY), "end_at": to_timestamp(DAY + timedelta(days=1))}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    """Ann's calls of 1 and 2 and bob's of 4, and a sum of them."""
    token = caller_of_call.set(EVERYBODY)
    with open_room(tmp_path) as opened:
        opened.create("tokens")
        opened.record([call(0, "1"), call(1, "2"), call(2, "4", subject="bob")])
        yield opened
    caller_of_call.reset(token)


def value(room: AggregatorRoom) -> str:
    (row,) = room.ask("tokens").rows
    return row.value


def load(room: AggregatorRoom, key: str, *values: str, subject: str = "ann") -> None:
    usage = [call(3, value, subject=subject) for value in values]
    room.log.record(usage, partition=key, source=f"backfill/{key}/billing-export")
    room.catch_up()


def open_backfill(room: AggregatorRoom, key: str = "b", **fields: Any) -> api.Backfill:
    request = api.OpenBackfillRequest(**{"key": key, "reason": "lost in an outage", **fields})
    return room.backfills.open(request, WAIT_S).backfill


def close_backfill(room: AggregatorRoom, key: str = "b", **fields: Any) -> api.Backfill:
    request = api.CloseBackfillRequest(**{"key": key, "reason": "complete", **fields})
    return room.backfills.close(request, WAIT_S).backfill


def revert_backfill(room: AggregatorRoom, key: str = "b") -> api.Backfill:
    return room.backfills.revert(api.RevertBackfillRequest(key=key, reason="wrong file"), WAIT_S).backfill


def test_usage_of_a_backfill_counts_when_it_is_closed_and_not_before(room: AggregatorRoom) -> None:
    open_backfill(room)
    load(room, "b", "10", "20")
    assert value(room) == "7"

    closed = close_backfill(room, expected_count=2)
    assert (value(room), closed.state, closed.loaded_count) == ("37", api.BACKFILL_STATE_CLOSED, 2)
    load(room, "b", "100")
    assert value(room) == "137"


def test_a_closed_backfill_replaces_what_was_there_and_gives_it_back_when_reverted(room: AggregatorRoom) -> None:
    open_backfill(room, replaces_existing=True, subjects=["ann"], **THE_DAY)
    load(room, "b", "10")
    closed = close_backfill(room)
    assert (value(room), closed.replaced_count) == ("14", 2)
    room.record([call(5, "0.5")])
    assert value(room) == "14.5"

    assert revert_backfill(room).state == api.BACKFILL_STATE_REVERTED
    assert value(room) == "7.5"


def test_of_two_backfills_that_are_closed_at_once_the_later_replaces_the_earlier(room: AggregatorRoom) -> None:
    for key in ("b1", "b2"):
        open_backfill(room, key, replaces_existing=True, **THE_DAY)
        load(room, key, "110")
    decided_at = room.store.head().position
    close_backfill(room, "b1")
    # The second was decided from a look at the log that did not know of the first.
    stream = StreamName("backfill", "b2")
    late = BackfillClosed(key="b2", until_position=decided_at, loaded_count=1, replaced_count=3)
    room.store.append(stream, [encode(late, stream, 1, room.clock.now())], 0)
    room.catch_up()

    assert value(room) == "110"
    assert room.checker.check_all(1, Deadline.after(WAIT_S)).difference_count == 0


def test_usage_of_a_key_that_nobody_opened_is_held_until_somebody_does(room: AggregatorRoom) -> None:
    load(room, "b", "10")
    assert value(room) == "7"
    open_backfill(room)
    close_backfill(room, expected_count=1)
    assert value(room) == "17"


def test_a_filter_hits_only_what_counted_when_it_was_previewed(room: AggregatorRoom) -> None:
    """What a backfill holds back is not in the number that the caller agreed to, so it is not cancelled."""
    open_backfill(room)
    load(room, "b", "10")
    chooser = api.UsageFilter(subjects=["ann"])
    seen = room.corrections.preview(api.PreviewCancellationRequest(filter=chooser), WAIT_S)
    request = api.CancelUsageRequest(
        key="c", filter=chooser, reason="wrong", expected_count=2, until_position=seen.position
    )
    room.corrections.cancel(request, WAIT_S)
    close_backfill(room)

    assert (seen.usage_event_count, value(room)) == (2, "14")


def test_backfilled_usage_can_be_corrected_by_name(room: AggregatorRoom) -> None:
    open_backfill(room)
    load(room, "b", "10", "20")
    name = api.UsageName(source="backfill/b/billing-export", id="b-0-0")
    room.corrections.amend(api.AmendUsageRequest(key="a", name=name, value="11", reason="mistyped"), WAIT_S)
    assert value(room) == "7"
    close_backfill(room)
    assert value(room) == "38"


def test_usage_that_is_held_back_says_so(room: AggregatorRoom) -> None:
    open_backfill(room)
    load(room, "b", "10")
    request = usage_api.ListUsageEventsRequest(state=usage_api.USAGE_STATE_HELD)
    (event,) = room.usage_events.list(request, WAIT_S).events
    assert (event.id, list(event.corrections)) == ("b-0-0", ["b"])


def test_a_backfill_is_safe_to_repeat_and_its_key_is_taken_for_other_content(room: AggregatorRoom) -> None:
    assert open_backfill(room, types=["call"]) == open_backfill(room, types=["call"])
    with pytest.raises(AlreadyExists) as refusal:
        open_backfill(room)
    assert refusal.value.reason == "BACKFILL_EXISTS"
    load(room, "b", "1")
    assert close_backfill(room) == close_backfill(room)
    assert revert_backfill(room) == revert_backfill(room)


def test_a_backfill_with_another_number_of_usage_events_stays_open(room: AggregatorRoom) -> None:
    open_backfill(room)
    load(room, "b", "10")
    with pytest.raises(RuleViolated) as refusal:
        close_backfill(room, expected_count=2)
    assert refusal.value.reason == "EXPECTED_COUNT_DIFFERS"
    shown = room.backfills.get(api.GetBackfillRequest(key="b")).backfill
    assert (shown.state, shown.loaded_count) == (api.BACKFILL_STATE_OPEN, 1)


def test_what_was_reverted_is_never_closed(room: AggregatorRoom) -> None:
    open_backfill(room)
    revert_backfill(room)
    with pytest.raises(RuleViolated) as refusal:
        close_backfill(room)
    assert refusal.value.reason == "BACKFILL_REVERTED"


def test_a_backfill_that_was_never_opened_is_not_found(room: AggregatorRoom) -> None:
    for ask in (close_backfill, revert_backfill, lambda room: room.backfills.get(api.GetBackfillRequest(key="b"))):
        with pytest.raises(NotFound) as refusal:
            ask(room)
        assert refusal.value.reason == "BACKFILL_NOT_FOUND"


def test_backfills_are_listed_newest_first_page_by_page(room: AggregatorRoom) -> None:
    for key in ("b1", "b2", "b3"):
        open_backfill(room, key)
    first = room.backfills.list(api.ListBackfillsRequest(page_size=2))
    second = room.backfills.list(api.ListBackfillsRequest(page_size=2, page_token=first.next_page_token))
    assert [each.key for each in (*first.backfills, *second.backfills)] == ["b3", "b2", "b1"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"key": "a/b"}, "key"),
        ({"key": "k" * 65}, "key"),
        ({"replaces_existing": True}, "start_at"),
        ({"start_at": THE_DAY["end_at"], "end_at": THE_DAY["start_at"]}, "end_at"),
        ({"subjects": [""]}, "subjects[0]"),
        ({"types": ["call", "call"]}, "types"),
        ({"reason": ""}, "reason"),
    ],
)
def test_a_malformed_backfill_is_refused_by_its_field(room: AggregatorRoom, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        open_backfill(room, **fields)
    assert refusal.value.field == field
