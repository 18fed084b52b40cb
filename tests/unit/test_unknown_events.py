"""What a newer release wrote makes an older one wait where it could do harm, and nobody passes over it in silence."""

from contextlib import closing
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.definition import Definition
from services.eventstore.catalogue import MESSAGES
from services.eventstore.event import ANY_VERSION, NewEvent, Position, StreamName
from services.eventstore.memory import MemoryEventStore
from services.eventstore.store import EventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import RuleViolated
from services.projection.projection import RebuildMode, RebuildProgress
from services.projection.skipping import Decision
from services.rpc.simulation import CLOCK_STREAM, ClockFollower, advance
from tests import rating_room, webhook_bench
from tests.aggregator_room import DAY, NOW, AggregatorRoom, call
from tests.aggregator_room import open_room as open_aggregator
from tests.projection_room import NOON, unheard
from tests.webhook_bench import eventually
from tests.webhook_receiver import Receiver

DECISION = Decision("not ours", "Ada", "ops", NOON)
TOKENS = Definition("tokens", "", "call", AggregationName.SUM, "", (), "")
LATER = Definition("later", "", "call", AggregationName.SUM, "", (), "")


def write_newer(store: EventStore, category: str, identifier: str, of_type: str) -> Position:
    """An event in a form that nobody knows yet."""
    version = max(version for name, version in MESSAGES if name == of_type) + 1
    event = NewEvent(uuid4(), of_type, version, b"what a newer release writes")
    return store.append(StreamName(category, identifier), [event], ANY_VERSION).position


def park_usage(room: AggregatorRoom) -> Position:
    position = write_newer(room.store, "usage", "7", "UsageRecorded")
    room.catch_up()
    return position


def test_totals_are_refused_while_usage_is_parked_and_usage_is_answered(tmp_path: Path) -> None:
    with open_aggregator(tmp_path) as room:
        room.log.create([TOKENS])
        room.record([call(1, "5")])
        position = park_usage(room)
        with pytest.raises(RuleViolated, match="usage_windows") as refusal:
            room.total("tokens")
        assert refusal.value.reason == "EVENTS_PARKED"
        assert [row.value for row in room.ask().rows] == ["5"]
        room.windows.skip(position, DECISION)
        assert [total.value for total in room.total("tokens").totals] == ["5"]


def test_no_period_closes_while_usage_is_parked(tmp_path: Path) -> None:
    with open_aggregator(tmp_path, now=NOW) as room:
        room.log.create([TOKENS])
        room.record([call(1, "5")])
        position = park_usage(room)
        room.clock.advance(DAY.replace(year=DAY.year + 1))
        assert room.closer.close_due() == 0
        assert room.closer.problem() == "no period closes while usage is parked"
        room.windows.skip(position, DECISION)
        assert room.closer.close_due() == 1
        assert room.closer.problem() == ""


def test_a_meter_created_later_counts_what_was_folded_and_leaves_out_what_was_left_out(tmp_path: Path) -> None:
    """Its usage is read back from the log: parked events among it, and such as were skipped."""
    with open_aggregator(tmp_path) as room:
        room.record([call(1, "5")])
        parked = park_usage(room)
        room.log.create([TOKENS])
        room.catch_up()
        assert [row.value for row in room.ask().rows] == ["5"]
        room.windows.skip(parked, DECISION)
        room.log.create([LATER])
        room.catch_up()
        assert [row.value for row in room.ask("later").rows] == ["5"]
        assert room.windows.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=unheard).is_equal
        assert [row.value for row in room.ask("later").rows] == ["5"]


def test_usage_that_does_not_parse_stops_counting_until_it_is_skipped_also_for_meters_of_later(tmp_path: Path) -> None:
    with open_aggregator(tmp_path) as room:
        room.log.create([TOKENS])
        room.record([call(1, "5")])
        broken = room.store.append(
            StreamName("usage", "7"), [NewEvent(uuid4(), "UsageRecorded", 1, b"\xff\xff")], ANY_VERSION
        ).position
        eventually(room.windows.stopping_event)
        assert "position 3" in room.windows.problem()
        room.windows.skip(broken, DECISION)
        room.record([call(2, "2")])
        room.log.create([LATER])
        room.catch_up()
        assert [row.value for row in room.ask("later").rows] == ["7"]
        assert room.windows.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=unheard).is_equal


def test_nothing_is_invoiced_while_the_books_lack_an_event(tmp_path: Path) -> None:
    with rating_room.open_room(tmp_path) as room:
        room.subscribed("acme")
        room.record("acme", "requests", "2024-01-15", "1000")
        room.bill()
        position = write_newer(room.store, "subscription", "acme-sub", "SubscriptionCancelled")
        room.books.wait_for(position, rating_room.WAIT_S)
        room.advance("2024-02-15")
        room.bill()
        assert {invoice.number for invoice in room.listed()} == {""}
        assert "parked" in room.worker.problem()
        room.books.skip(position, DECISION)
        again = type(room.worker)(room.billing, room.clock)
        rating_room.bill_with(again)
        assert [invoice.number for invoice in room.listed(state=2)] == ["INV-000001"]


def test_a_fact_that_is_not_known_stops_announcements_instead_of_being_passed_over(tmp_path: Path) -> None:
    bench = webhook_bench.Bench(tmp_path)
    bench.start()
    try:
        write_newer(bench.store, "invoice", "inv-9", "InvoiceFinalized")
        eventually(lambda: "InvoiceFinalized version 2" in bench.announcer.problem())
        assert "upgrade" in bench.announcer.problem()
        assert not bench.announcer.is_ready()
    finally:
        bench.close()


def test_a_simulated_clock_that_it_cannot_read_stands_still_and_says_so() -> None:
    clock = SimulatedClock(NOON)
    store = MemoryEventStore(clock)
    advance(store, NOON)
    write_newer(store, str(CLOCK_STREAM.category), CLOCK_STREAM.id, "ClockAdvanced")
    follower = ClockFollower(store, clock)
    follower.start()
    try:
        eventually(lambda: "ClockAdvanced version 2" in follower.problem())
        assert not follower.is_ready()
        assert clock.now() == NOON
    finally:
        follower.stop(webhook_bench.WAIT_S)
        store.close()


def test_a_replay_of_webhooks_that_still_wait_sends_nothing_and_appends_nothing(tmp_path: Path) -> None:
    """In the middle of a rebuild, with deliveries due: only the dispatcher of the live tables sends, and each once."""
    bench = webhook_bench.Bench(tmp_path)
    with closing(Receiver()) as receiver:
        try:
            receiver.then("/hooks", *[500] * 3)
            bench.start().create_endpoint("books", receiver.url())
            for number in range(3):
                bench.finalize(number)
            eventually(lambda: len(bench.errors()) == 3)
            bench.catch_up()
            head, arrivals = bench.store.head(), len(receiver.arrivals)
            seen: list[tuple[object, int]] = []

            def look(_progress: RebuildProgress) -> None:
                seen.append((bench.store.head(), len(receiver.arrivals)))

            for mode in RebuildMode:
                bench.runner.rebuild(mode=mode, progress=look)
            assert set(seen) == {(head, arrivals)}
            assert (bench.store.head(), len(receiver.arrivals)) == (head, arrivals)
            assert bench.states() == ["pending"] * 3
        finally:
            bench.close()


def test_amounts_stay_exact_after_a_skip(tmp_path: Path) -> None:
    """A skip takes out the event and nothing of its neighbours."""
    with open_aggregator(tmp_path) as room:
        room.log.create([TOKENS])
        room.record([call(1, "0.000000000001")])
        position = park_usage(room)
        room.record([call(2, "99999999999999.5")])
        room.windows.skip(position, DECISION)
        (total,) = room.total("tokens").totals
        assert Decimal(total.value) == Decimal("99999999999999.500000000001")
