"""When usage events go out together, and what the outbox knows about those without an answer."""

import pytest

from meterlog.client import Sending, UsageOutcome, UsageResult, WrongValue
from meterlog.client.outbox import Outbox, size_of, too_large
from meterlog.ingest.v1.ingest_pb2 import UsageEvent

SENDING = Sending(
    batch_events_max=3, batch_bytes_max=100, linger_s=0.5, queue_events_max=5, queue_bytes_max=1000, in_flight_max=2
)


def ignore(result):
    pass


def outbox_with(*sizes, now_s=0.0, sending=SENDING):
    outbox = Outbox(sending)
    for number, size in enumerate(sizes, start=1):
        outbox.add(UsageEvent(id=str(number)), size, ignore, now_s)
    return outbox


def ids(batch):
    return [event.id for event in batch.events]


def recorded(batch):
    return [UsageResult("s", event.id, UsageOutcome.RECORDED) for event in batch.events]


def test_nothing_is_due_while_nothing_waits():
    assert outbox_with().due_in_s(10.0) is None


def test_a_lone_event_lingers_for_company():
    outbox = outbox_with(10, now_s=1.0)
    assert outbox.due_in_s(1.2) == pytest.approx(0.3)
    assert outbox.due_in_s(1.5) == 0.0
    assert outbox.due_in_s(99.0) == 0.0


def test_a_full_batch_goes_at_once():
    assert outbox_with(10, 10, 10).due_in_s(0.0) == 0.0


def test_enough_bytes_are_a_full_batch_too():
    assert outbox_with(60, 40).due_in_s(0.0) == 0.0


def test_a_sender_is_woken_by_the_first_event_and_by_a_full_batch_only():
    outbox = Outbox(SENDING)
    woken = [outbox.add(UsageEvent(), 10, ignore, 0.0) for _ in range(3)]
    assert woken == [True, False, True]


def test_a_batch_holds_the_oldest_events_up_to_its_count():
    outbox = outbox_with(1, 1, 1, 1)
    assert ids(outbox.take()) == ["1", "2", "3"]
    assert ids(outbox.take()) == ["4"]
    assert not outbox.has_waiting


def test_a_batch_stays_within_its_bytes():
    outbox = outbox_with(60, 40, 1)
    assert ids(outbox.take()) == ["1", "2"]
    assert outbox.due_in_s(0.1) == pytest.approx(0.4)


def test_an_event_larger_than_a_batch_goes_alone():
    outbox = outbox_with(1, 500, 1)
    assert [ids(outbox.take()) for _ in range(3)] == [["1"], ["2"], ["3"]]


def test_whoever_hurries_waits_for_no_company():
    outbox = outbox_with(10)
    outbox.hurry()
    assert outbox.due_in_s(0.0) == 0.0
    outbox.take()
    outbox.add(UsageEvent(id="later"), 10, ignore, 0.0)
    assert outbox.due_in_s(0.0) == 0.5


def test_events_count_against_the_queue_until_they_are_answered():
    outbox = outbox_with(1, 1, 1, 1, 1)
    assert not outbox.has_room(1)
    batch = outbox.take()
    assert not outbox.has_room(1)
    outbox.settle(batch, recorded(batch))
    assert outbox.has_room(1)


def test_the_queue_is_bounded_in_bytes():
    outbox = outbox_with(600)
    assert outbox.has_room(400)
    assert not outbox.has_room(401)


def test_an_empty_queue_takes_an_event_of_any_size():
    assert outbox_with().has_room(10_000_000)


def test_a_flush_is_over_when_everything_before_it_is_answered():
    outbox = outbox_with(1, 1, 1, 1)
    last = outbox.hurry()
    outbox.add(UsageEvent(id="later"), 1, ignore, 0.0)
    first, second = outbox.take(), outbox.take()
    outbox.settle(second, recorded(second))
    assert not outbox.is_settled(last)
    outbox.settle(first, recorded(first))
    assert outbox.is_settled(last)


def test_an_empty_outbox_is_settled():
    outbox = outbox_with()
    assert outbox.is_settled(outbox.hurry())


def test_what_was_on_its_way_can_be_recalled_in_order():
    outbox = outbox_with(1, 1, 1, 1, 1)
    outbox.take(), outbox.take()
    outbox.recall()
    assert ids(outbox.take()) + ids(outbox.take()) == ["1", "2", "3", "4", "5"]


def test_counters_tell_every_outcome_and_what_is_open():
    outbox = outbox_with(1, 1, 1, 1)
    batch = outbox.take()
    outcomes = (UsageOutcome.RECORDED, UsageOutcome.CONFLICT, UsageOutcome.UNDELIVERED)
    outbox.settle(batch, [UsageResult("s", "1", outcome) for outcome in outcomes])
    outbox.refuse(UsageResult("s", "5", UsageOutcome.INVALID))
    counters = outbox.counters
    assert (counters.taken, counters.unanswered) == (5, 1)
    assert (counters.recorded, counters.duplicate, counters.conflict) == (1, 0, 1)
    assert (counters.invalid, counters.undelivered) == (1, 1)


def test_an_event_that_fits_no_request_is_invalid():
    event = UsageEvent(id="1", source="s", subject="x" * 4_000_000)
    refusal = too_large(event, size_of(event))
    assert refusal is not None
    assert (refusal.outcome, refusal.reason) == (UsageOutcome.INVALID, "EVENT_TOO_LARGE")
    assert too_large(UsageEvent(id="1"), size_of(UsageEvent(id="1"))) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_events_max": 0},
        {"batch_events_max": 10_001},
        {"batch_bytes_max": 4 * 1024 * 1024},
        {"in_flight_max": 0},
        {"queue_events_max": 0},
    ],
)
def test_bounds_that_cannot_work_are_refused(changes):
    with pytest.raises(WrongValue, match=next(iter(changes))):
        Sending(**changes)
