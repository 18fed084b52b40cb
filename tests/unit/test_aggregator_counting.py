"""While earlier usage is counted: how far it is can be seen, all else goes on, and what is not there yet is said so."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as api
from meterlog.aggregator.v1 import correction_pb2 as correct
from meterlog.events.v1.meter_pb2 import UsagePeriodClosed
from services.eventstore.catalogue import encode
from services.eventstore.event import NO_STREAM, Position, StreamName
from services.kernel.errors import NotFound, TimedOut, Unavailable
from services.kernel.timestamp import to_timestamp
from services.projection.skipping import Decision
from tests.aggregator_room import NOW, WAIT_S, AggregatorRoom, call
from tests.corrected_room import ALL_OF_ANN, cancel, filled_room, preview, value
from tests.held_count import HeldCount

SOON_S = 0.05
MARCH, APRIL = (to_timestamp(datetime(2024, month, 1, tzinfo=UTC)) for month in (3, 4))


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    """Two batches: four calls, then two more of bob's."""
    with filled_room(tmp_path) as opened:
        opened.record([call(3, "16", "bob"), call(4, "32", "bob")])
        yield opened


@pytest.fixture
def held(room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldCount]:
    hold = HeldCount(monkeypatch)
    yield hold
    hold.let_go()


def meter(slug: str, **fields: Any) -> api.Meter:
    return api.Meter(**{"slug": slug, "event_type": "call", "aggregation": api.AGGREGATION_COUNT, **fields})


def creating(room: AggregatorRoom, slug: str = "calls", **fields: Any) -> Callable[[], api.Meter]:
    return lambda: room.meters.create(api.CreateMeterRequest(meter=meter(slug), **fields), WAIT_S).meter


def shown(room: AggregatorRoom) -> api.Counting:
    return room.counting.get(api.GetCountingRequest()).counting


def get(room: AggregatorRoom, slug: str) -> api.Meter:
    return room.meters.get(api.GetMeterRequest(slug=slug)).meter


def listed(room: AggregatorRoom, **fields: Any) -> list[str]:
    return [each.slug for each in room.meters.list(api.ListMetersRequest(**fields)).meters]


def events_of_ann(room: AggregatorRoom) -> list[api.RecordedUsageEvent]:
    return list(room.usage_events.list(api.ListUsageEventsRequest(subject="ann"), WAIT_S).events)


def test_a_new_meter_says_how_far_its_count_is_and_then_nothing_more(room: AggregatorRoom, held: HeldCount) -> None:
    with held.during(creating(room)) as answers:
        said = shown(room)
        assert (list(said.meters), said.step, said.done_count, said.total_count) == (
            ["calls"],
            api.COUNTING_STEP_COUNTING,
            4,
            6,
        )
        assert said.position == room.store.head().position
        assert get(room, "calls").counting.done_count == 4
        held.step()
        assert get(room, "calls").counting.done_count == 6

    assert answers == [get(room, "calls")]
    assert not answers[0].HasField("counting")
    state = room.counting.get(api.GetCountingRequest())
    assert (state.position, state.HasField("counting")) == (state.head_position, False)


def test_a_new_meter_is_listed_among_the_others_while_it_is_counted(room: AggregatorRoom, held: HeldCount) -> None:
    with held.during(creating(room, "middle")):
        assert listed(room) == ["greatest", "middle", "tokens"]
        first = room.meters.list(api.ListMetersRequest(page_size=1))
        second = room.meters.list(api.ListMetersRequest(page_size=1, page_token=first.next_page_token))
        third = room.meters.list(api.ListMetersRequest(page_size=1, page_token=second.next_page_token))
        pages = [each.meters[0] for each in (first, second, third)]
        assert [each.slug for each in pages] == ["greatest", "middle", "tokens"]
        assert [each.HasField("counting") for each in pages] == [False, True, False]
        assert third.next_page_token == ""


def test_a_question_about_a_meter_that_is_being_counted_says_so_and_not_that_there_is_none(
    room: AggregatorRoom, held: HeldCount
) -> None:
    with held.during(creating(room)):
        for ask in (
            lambda: room.ask("calls"),
            lambda: room.total("tokens", "calls"),
            lambda: room.meters.versions(api.ListMeterVersionsRequest(slug="calls")),
        ):
            with pytest.raises(Unavailable, match=r'"calls" is new, .*counting: 4 of 6 usage events') as refusal:
                ask()
            assert refusal.value.reason == "METER_COUNTING"
        with pytest.raises(NotFound, match='no meter "other"'):
            room.total("tokens", "other")
    assert [row.value for row in room.ask("calls").rows] == ["6"]


def test_a_redefined_meter_is_answered_as_it_was_until_its_count_is_over(room: AggregatorRoom, held: HeldCount) -> None:
    request = api.RedefineMeterRequest(slug="tokens", meter=meter("tokens"), expected_version=1)
    request.meter.aggregation = api.AGGREGATION_SUM
    request.meter.value_property = "region"

    with held.during(lambda: room.meters.redefine(request, WAIT_S)):
        found = get(room, "tokens")
        assert (found.version, list(found.counting.meters)) == (2, ["tokens"])
        assert value(room) == "63"
        assert [each.version for each in room.meters.list(api.ListMetersRequest()).meters] == [1, 2]

    assert value(room) == "0"


def test_a_cancellation_is_looked_for_and_counted_and_shown_as_decided(room: AggregatorRoom, held: HeldCount) -> None:
    seen = preview(room, filter=ALL_OF_ANN)
    wanted = {"filter": ALL_OF_ANN, "expected_count": seen.usage_event_count, "until_position": seen.position}

    with held.during(lambda: cancel(room, "wrong", **wanted)) as answers:
        said = shown(room)
        assert (list(said.corrections), said.step) == (["wrong"], api.COUNTING_STEP_SEARCHING)
        found = room.corrections.get(correct.GetCorrectionRequest(key="wrong")).correction
        assert (found.usage_event_count, list(found.counting.corrections)) == (3, ["wrong"])
        assert value(room) == "63"
        while shown(room).step == api.COUNTING_STEP_SEARCHING:
            held.step()
        assert shown(room).step == api.COUNTING_STEP_COUNTING

    found.ClearField("counting")
    assert answers == [found]
    assert value(room) == "56"


def test_a_backfill_that_is_closed_or_reverted_is_shown_so_while_it_is_counted(
    room: AggregatorRoom, held: HeldCount
) -> None:
    room.backfills.open(correct.OpenBackfillRequest(key="b", reason="lost"), WAIT_S)
    room.log.record([call(5, "100")], source="backfill/b/test")
    room.catch_up()

    def find() -> correct.Backfill:
        return room.backfills.get(correct.GetBackfillRequest(key="b")).backfill

    closing = correct.CloseBackfillRequest(key="b", reason="complete")
    with held.during(lambda: room.backfills.close(closing, WAIT_S).backfill) as answers:
        found = find()
        assert (found.state, found.loaded_count) == (correct.BACKFILL_STATE_CLOSED, 1)
        assert (list(found.counting.backfills), value(room)) == (["b"], "63")
    assert answers == [find()]
    assert value(room) == "163"

    reverting = correct.RevertBackfillRequest(key="b", reason="wrong")
    with held.during(lambda: room.backfills.revert(reverting, WAIT_S).backfill) as answers:
        assert (find().state, list(find().counting.backfills)) == (correct.BACKFILL_STATE_REVERTED, ["b"])
    assert answers == [find()]
    assert value(room) == "63"


def test_usage_is_recorded_and_asked_for_while_a_count_runs_and_the_service_stays_ready(
    room: AggregatorRoom, held: HeldCount
) -> None:
    position = room.windows.position()
    with held.during(creating(room)):
        room.log.record([call(6, "64", "bob")])

        assert value(room) == "63"
        assert value(room, min_position=position) == "63"
        assert value(room, as_of=position) == "63"
        assert [total.value for total in room.total("tokens", "greatest").totals] == ["7", "4"]
        assert [each.value for each in events_of_ann(room)] == ["1", "2", "4"]
        assert listed(room) == ["calls", "greatest", "tokens"]
        assert not room.unmatched.list(api.ListUnmatchedUsageRequest()).types
        assert room.closer.close_due() == 0
        assert room.restater.restate_changed() == 0
        assert [(runner.is_ready(), runner.problem()) for runner in (room.windows, room.periods)] == [(True, "")] * 2
        assert room.windows.status().is_caught_up
    room.catch_up()
    assert value(room) == "127"
    assert value(room, "calls") == "7"


def test_the_periods_wait_for_a_long_count_and_then_go_on(room: AggregatorRoom, held: HeldCount) -> None:
    """The neighbour in the same database: its fold waits for the transaction, and that is no failure of it."""
    with held.during(creating(room)):
        stream = StreamName("period", "ann/month/2024-03")
        closed = UsagePeriodClosed(subject="ann", period="month", start_at=MARCH, end_at=APRIL)
        position = room.store.append(stream, [encode(closed, stream, 0, NOW)], NO_STREAM).position
        with pytest.raises(TimedOut):
            room.periods.wait_for(position, SOON_S)
        assert (room.periods.is_ready(), room.periods.problem()) == (True, "")
        assert not room.closed.list(api.ListClosedPeriodsRequest()).periods
    room.catch_up()
    assert [each.subject for each in room.closed.list(api.ListClosedPeriodsRequest()).periods] == ["ann"]


def test_a_meter_that_was_decided_to_be_left_out_is_not_there(
    room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event is in the log, so it is neither counted nor to be counted."""
    monkeypatch.setattr("services.aggregator.usage_windows.fold_meter", refused)
    position = Position(creating(room, answer_early=True)().counting.position)
    wait_until_stopped(room, position)
    assert get(room, "calls").HasField("counting")
    with pytest.raises(TimedOut, match="MeterCreated"):
        creating_within(room, WAIT_S / 100)

    room.windows.skip(position, Decision("it cannot be folded", "maria", "", NOW))
    room.windows.wait_for(position, WAIT_S)

    for ask in (lambda: get(room, "calls"), lambda: room.ask("calls")):
        with pytest.raises(NotFound):
            ask()


def refused(*_arguments: Any) -> None:
    raise ValueError("a meter that this release cannot fold")


def creating_within(room: AggregatorRoom, seconds: float) -> None:
    room.meters.create(api.CreateMeterRequest(meter=meter("calls")), seconds)


def wait_until_stopped(room: AggregatorRoom, position: Position) -> None:
    for _ in range(100):
        with suppress(TimedOut):
            room.windows.wait_for(position, WAIT_S / 100)
        if room.windows.stopping_event() is not None:
            return
    raise AssertionError("the fold did not stop")
