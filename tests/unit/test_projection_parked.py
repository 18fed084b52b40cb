"""What this release does not know is set aside and told of; an operator decides, and a rebuild decides the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from meterlog.events.v1.meter_pb2 import MeterCreated
from services.eventstore.catalogue import UPCASTS
from services.eventstore.decider_testing import given
from services.eventstore.event import BEGINNING, Position
from services.eventstore.upcasting import StoredForm, Upcast
from services.kernel.errors import InvalidInput, NotFound, RuleViolated, TimedOut
from services.projection.blame import CannotFold
from services.projection.projection import RebuildMode, RebuildProgress
from services.projection.skipping import SKIPPING, Decision, SkipEvent, decision_stream
from tests.projection_room import NOON, RENAMED, WAIT_S, Bench, SlugProjection, unheard

DECISION = Decision("twice by mistake", "Ada", "ops", NOON)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "tables.db")
    yield made
    made.close()
    made.store.close()


def upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that knows RENAMED: it counts like a meter's creation."""

    def created(stored: StoredForm) -> list[StoredForm]:
        return [StoredForm("MeterCreated", 1, MeterCreated(slug=stored.payload.decode()).SerializeToString())]

    monkeypatch.setitem(UPCASTS, RENAMED, Upcast((("MeterCreated", 1),), created))


def rebuilt_rows(bench: Bench) -> dict[str, int]:
    """What a rebuild makes of the log; it takes over."""
    bench.runner.rebuild(mode=RebuildMode.REPLACE, progress=unheard)
    return bench.rows()


def test_an_event_that_this_release_does_not_know_is_parked_and_the_rest_is_folded(bench: Bench) -> None:
    bench.meter("a")
    position = bench.renamed("b")
    bench.runner.start()
    bench.runner.wait_for(bench.meter("c"), WAIT_S)
    assert bench.rows() == {"a": 1, "c": 1}
    assert bench.runner.status().parked == 1
    assert "projections parked" in bench.runner.problem()
    assert bench.runner.is_ready(), "what is known can be asked for"
    (parked,) = bench.runner.parked(BEGINNING, 10)
    assert (parked.position, parked.type, parked.schema_version, parked.is_known) == (position, *RENAMED, False)
    assert str(parked.stream) == "meter-b-renamed"


def test_what_cannot_be_taken_back_waits_for_a_decision_about_parked_events(bench: Bench) -> None:
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    bench.runner.require_whole()
    position = bench.renamed("b")
    bench.runner.wait_for(position, WAIT_S)
    with pytest.raises(RuleViolated, match="unknown to this release") as refusal:
        bench.runner.require_whole()
    assert refusal.value.reason == "EVENTS_PARKED"
    bench.runner.skip(position, DECISION)
    bench.runner.require_whole()


def test_parked_events_are_remembered_across_a_restart_and_found_again_by_a_fold_from_the_start(bench: Bench) -> None:
    bench.renamed("a")
    bench.runner.start()
    bench.runner.wait_for(bench.renamed("b"), WAIT_S)
    bench.restart(SlugProjection())
    bench.runner.start()
    assert bench.runner.status().parked == 2
    bench.restart(SlugProjection(version=2))
    bench.runner.start()
    bench.runner.wait_for(bench.meter("c"), WAIT_S)
    assert bench.runner.status().parked == 2


def test_a_rebuild_stops_at_what_it_does_not_know_and_says_what_to_do(bench: Bench) -> None:
    bench.meter("a")
    position = bench.renamed("b")
    bench.runner.start()
    bench.runner.wait_for(bench.meter("c"), WAIT_S)
    with pytest.raises(CannotFold, match=rf"position {position} \(MeterRenamed version 7.*Upgrade it") as refusal:
        bench.runner.rebuild(mode=RebuildMode.REPLACE, progress=unheard)
    assert refusal.value.reason == "UNKNOWN_EVENT_TYPE"
    assert bench.rows() == {"a": 1, "c": 1}, "the live tables stay"
    (held,) = bench.runner.status().held
    assert (held.position, held.events) == (1, 1), "it is held right before that event"


def test_after_an_upgrade_a_rebuild_takes_parked_events_in_at_their_place(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.runner.start()
    bench.runner.wait_for(bench.renamed("a"), WAIT_S)
    upgrade(monkeypatch)
    bench.restart(SlugProjection())
    bench.runner.start()
    bench.runner.wait_for(bench.meter("b"), WAIT_S)
    assert bench.rows() == {"b": 1}
    assert [event.is_known for event in bench.runner.parked(BEGINNING, 10)] == [True]
    assert rebuilt_rows(bench) == {"a": 1, "b": 1}
    assert bench.runner.status().parked == 0
    assert bench.runner.problem() == ""


def test_a_skipped_event_stays_out_of_the_live_tables_and_of_every_rebuild(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.runner.start()
    position = bench.renamed("a")
    bench.runner.wait_for(bench.meter("b"), WAIT_S)
    bench.runner.skip(position, DECISION)
    assert bench.runner.status().parked == 0
    assert bench.runner.status().skipped == 1
    upgrade(monkeypatch)
    comparison = bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=unheard)
    assert comparison.is_equal
    assert bench.rows() == {"b": 1}
    bench.restart(SlugProjection(version=2))
    bench.runner.start()
    bench.runner.wait_for(bench.meter("c"), WAIT_S)
    assert bench.rows() == {"b": 1, "c": 1}, "also out of tables that are folded from the start"


def test_an_event_that_stops_the_fold_is_named_and_can_be_skipped(bench: Bench) -> None:
    bench.projection.poison = "b"
    for slug in "abc":
        bench.meter(slug)
    bench.runner.start()
    with pytest.raises(TimedOut):
        bench.runner.wait_for(Position(3), 0.3)
    stopping = bench.runner.stopping_event()
    assert stopping is not None
    assert (stopping.position, stopping.type) == (2, "MeterCreated")
    assert 'cannot fold position 2 (MeterCreated version 1, stream "meter-b"): ValueError: poison' in (
        bench.runner.status().stop_reason
    )
    assert bench.rows() == {"a": 1}, "everything before it is folded, although one read held all three"
    assert not bench.runner.is_ready()
    bench.runner.skip(Position(2), DECISION)
    bench.runner.wait_for(Position(3), WAIT_S)
    assert bench.rows() == {"a": 1, "c": 1}
    assert bench.runner.stopping_event() is None
    assert rebuilt_rows(bench) == {"a": 1, "c": 1}


def test_a_rebuild_names_the_event_that_it_cannot_fold(bench: Bench) -> None:
    bench.runner.start()
    bench.runner.wait_for([bench.meter(slug) for slug in "abc"][-1], WAIT_S)
    bench.projection.poison = "b"
    with pytest.raises(CannotFold, match="position 2"):
        bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=unheard)
    with pytest.raises(NotFound, match="neither parked"):
        bench.runner.skip(Position(2), DECISION)


def test_only_what_waits_for_a_decision_can_be_skipped(bench: Bench) -> None:
    bench.runner.start()
    position = bench.meter("a")
    bench.runner.wait_for(position, WAIT_S)
    for wrong in (position, Position(99)):
        with pytest.raises(NotFound, match="neither parked"):
            bench.runner.skip(wrong, DECISION)
    assert bench.rows() == {"a": 1}


def test_a_decision_is_made_once_and_its_first_reason_stands(bench: Bench) -> None:
    bench.runner.start()
    position = bench.renamed("a")
    bench.runner.wait_for(position, WAIT_S)
    first = bench.runner.skip(position, DECISION)
    again = bench.runner.skip(position, Decision("another reason", "Bob", "ops", NOON))
    assert again == first
    assert (first.reason, first.skipped_by, first.key_name, first.event_type) == (
        "twice by mistake",
        "Ada",
        "ops",
        "MeterRenamed",
    )
    assert len(bench.store.read_stream(decision_stream("slugs"))) == 1
    bench.restart(SlugProjection())
    bench.runner.start()
    assert bench.runner.skip(position, DECISION) == first


def test_a_crash_after_the_decision_leaves_it_in_force(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.runner.start()
    position = bench.renamed("a")
    bench.runner.wait_for(position, WAIT_S)
    with monkeypatch.context() as patched:
        patched.setattr("services.projection.live.unpark", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            bench.runner.skip(position, DECISION)
    bench.restart(SlugProjection())
    bench.runner.start()
    assert bench.runner.status().parked == 0


def test_nothing_is_decided_while_a_rebuild_runs(bench: Bench) -> None:
    for slug in "abc":
        bench.meter(slug)
    other = bench.renamed("d")
    bench.runner.start()
    bench.runner.wait_for(other, WAIT_S)
    refusals: list[str] = []

    def decide(_progress: RebuildProgress) -> None:
        try:
            bench.runner.skip(other, DECISION)
        except RuleViolated as refusal:
            refusals.append(refusal.reason)

    with pytest.raises(CannotFold):
        bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=decide)
    assert refusals == ["REBUILD_RUNS"]


def test_a_held_rebuild_that_holds_a_skipped_event_is_not_gone_on_with(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.runner.start()
    position = bench.renamed("a")
    bench.runner.wait_for(bench.meter("b"), WAIT_S)
    upgrade(monkeypatch)
    bench.runner.rebuild_until(until=position, progress=unheard)
    assert [held.position for held in bench.runner.status().held] == [position]
    bench.runner.skip(position, DECISION)
    assert bench.runner.status().held == ()


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501, "two\nlines"])
def test_a_decision_needs_a_reason_that_can_be_read(bench: Bench, reason: str) -> None:
    bench.runner.start()
    position = bench.renamed("a")
    bench.runner.wait_for(position, WAIT_S)
    with pytest.raises(InvalidInput, match="reason"):
        bench.runner.skip(position, Decision(reason, "", "ops", NOON))


def test_skipping_what_is_skipped_causes_nothing(bench: Bench) -> None:
    bench.runner.start()
    position = bench.renamed("a")
    bench.runner.wait_for(position, WAIT_S)
    (parked,) = bench.runner.parked(BEGINNING, 1)
    decided = bench.runner.skip(position, DECISION)
    given(SKIPPING).when(SkipEvent("slugs", parked, DECISION)).then(decided)
    given(SKIPPING, [decided]).when(SkipEvent("slugs", parked, DECISION)).then_nothing()
