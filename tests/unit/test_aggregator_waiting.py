"""Who waits for a count of earlier usage: until when, what is said when time is over, and who does not wait."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as api
from meterlog.aggregator.v1 import correction_pb2 as correct
from services.kernel.errors import TimedOut
from tests.aggregator_room import WAIT_S, AggregatorRoom, call
from tests.corrected_room import ALL_OF_ANN, filled_room, name, value
from tests.held_count import HeldCount
from tests.patience import in_time, patiently

SOON_S = 0.05
CALLS = api.Meter(slug="calls", event_type="call", aggregation=api.AGGREGATION_COUNT)


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


def create(room: AggregatorRoom, *, answer_early: bool = False) -> api.Meter:
    return room.meters.create(api.CreateMeterRequest(meter=CALLS, answer_early=answer_early), WAIT_S).meter


def get(room: AggregatorRoom, slug: str) -> api.Meter:
    return room.meters.get(api.GetMeterRequest(slug=slug)).meter


def test_a_call_whose_deadline_passes_says_where_it_stands_and_its_repeat_waits_for_the_count(
    room: AggregatorRoom, held: HeldCount
) -> None:
    request = api.CreateMeterRequest(meter=CALLS)
    held.arm()

    def create_too_late(deadline_s: float) -> None:
        with pytest.raises(TimedOut) as late:
            room.meters.create(request, deadline_s)
        in_time(late.value.reason == "STILL_COUNTING")
        position = room.store.head().position
        assert late.value.metadata == {"position": str(position)}
        assert f'meter "calls" is in the log, at position {position}, and usage follows: ' in late.value.message
        assert "Repeat the call, or wait until GetCounting says position" in late.value.message

    patiently(create_too_late)
    patiently(create_too_late)
    held.let_go()
    assert not create(room).HasField("counting")
    assert value(room, "calls") == "6"


def test_a_correction_whose_deadline_passes_says_the_same(room: AggregatorRoom, held: HeldCount) -> None:
    request = correct.CancelUsageRequest(key="c", names=[name(0, 3)], reason="wrong")
    held.arm()

    def cancel_too_late(deadline_s: float) -> None:
        with pytest.raises(TimedOut) as late:
            room.corrections.cancel(request, deadline_s)
        in_time(late.value.reason == "STILL_COUNTING")
        assert 'correction "c" is in the log, at position' in late.value.message

    patiently(cancel_too_late)
    held.let_go()
    assert not room.corrections.cancel(request, WAIT_S).correction.HasField("counting")
    assert value(room) == "62"


def test_what_must_see_all_usage_says_that_nothing_was_decided_when_it_cannot(
    room: AggregatorRoom, held: HeldCount
) -> None:
    with held.during(lambda: create(room)):
        head = room.store.head().position
        for ask in (
            lambda: room.corrections.preview(correct.PreviewCancellationRequest(filter=ALL_OF_ANN), SOON_S),
            lambda: room.corrections.cancel(
                correct.CancelUsageRequest(key="c", names=[name(0)], reason="wrong"), SOON_S
            ),
        ):
            with pytest.raises(TimedOut, match="nothing was decided") as late:
                ask()
            assert (late.value.reason, "counting: 4 of 6" in late.value.message) == ("BEHIND", True)
        assert room.store.head().position == head


def test_who_does_not_wait_is_answered_with_the_position_to_wait_for(room: AggregatorRoom, held: HeldCount) -> None:
    held.arm()
    created = create(room, answer_early=True)
    assert created.counting.position == room.store.head().position
    held.wait()
    update = api.UpdateMeterRequest(slug="greatest", unit="call")
    with pytest.raises(TimedOut):
        room.meters.update(update, SOON_S)
    held.let_go()
    room.catch_up()
    assert not get(room, "calls").HasField("counting")

    request = correct.CancelUsageRequest(key="c", names=[name(0, 3)], reason="wrong", answer_early=True)
    held.arm()
    decided = room.corrections.cancel(request, WAIT_S).correction
    assert decided.counting.position == decided.decision.position == room.store.head().position
    held.wait()
    assert value(room) == "63"
    held.let_go()
    room.catch_up()
    assert value(room) == "62"
