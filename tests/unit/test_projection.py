"""A read model is folded once from the log, can be thrown away, and comes back the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.kernel.errors import RuleViolated
from services.projection.projection import RebuildMode, RebuildProgress
from tests.projection_room import WAIT_S, Bench, SlugProjection, unheard


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "tables.db")
    yield made
    made.close()
    made.store.close()


def test_a_caller_reads_what_it_wrote(bench: Bench) -> None:
    bench.runner.start()
    bench.meter("a")
    bench.runner.wait_for(bench.archive("a"), WAIT_S)
    assert bench.rows() == {"a": 2}


def test_the_checkpoint_passes_events_of_others(bench: Bench) -> None:
    bench.meter("a")
    bench.runner.start()
    bench.runner.wait_for(bench.elsewhere(), WAIT_S)
    assert bench.rows() == {"a": 1}
    assert bench.runner.is_ready()


def test_after_a_restart_nothing_is_folded_twice(bench: Bench) -> None:
    bench.runner.start()
    bench.runner.wait_for([bench.meter(slug) for slug in "abcde"][-1], WAIT_S)
    bench.restart(SlugProjection())
    bench.runner.start()
    bench.runner.wait_for(bench.meter("f"), WAIT_S)
    assert bench.rows() == dict.fromkeys("abcdef", 1)


def test_a_rebuilt_projection_is_equal_and_takes_over(bench: Bench) -> None:
    for slug in "abcdefgh":
        bench.meter(slug)
    bench.runner.start()
    bench.runner.wait_for(bench.archive("a"), WAIT_S)
    heard: list[RebuildProgress] = []
    comparison = bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=heard.append)
    assert comparison.is_equal
    assert comparison.is_swapped
    assert heard[-1].events == 9
    assert bench.runner.status().generation == 2
    bench.runner.wait_for(bench.meter("i"), WAIT_S)
    assert bench.rows() == {**dict.fromkeys("bcdefghi", 1), "a": 2}


def test_comparing_only_leaves_the_live_tables(bench: Bench) -> None:
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    comparison = bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=unheard)
    assert comparison.is_equal
    assert not comparison.is_swapped
    assert bench.runner.status().generation == 1


def test_a_fold_that_drifted_is_found_and_never_swapped_in(bench: Bench) -> None:
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    bench.projection.weight = 2
    comparison = bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=unheard)
    assert not comparison.is_equal
    assert not comparison.is_swapped
    assert bench.rows() == {"a": 1}


def test_an_operator_repairs_tables_that_drifted_from_the_log(bench: Bench) -> None:
    bench.projection.weight = 2
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    bench.projection.weight = 1
    comparison = bench.runner.rebuild(mode=RebuildMode.REPLACE, progress=unheard)
    assert not comparison.is_equal
    assert comparison.is_swapped
    bench.runner.wait_for(bench.archive("a"), WAIT_S)
    assert bench.rows() == {"a": 2}


def test_queries_are_answered_while_a_rebuild_runs_and_a_second_rebuild_is_refused(bench: Bench) -> None:
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    seen: list[dict[str, int]] = []
    refusals: list[str] = []

    def look(_progress: RebuildProgress) -> None:
        seen.append(bench.rows())
        try:
            bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=unheard)
        except RuleViolated as refusal:
            refusals.append(refusal.reason)

    bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=look)
    assert seen == [{"a": 1}] * 2, "after the only page, and before the swap"
    assert refusals == ["REBUILD_RUNS"] * 2
