"""What an operator types about projections, and what comes back: on the screen, as JSON, and as an exit code."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from services.cli.__main__ import main
from services.eventstore.catalogue import UPCASTS
from services.eventstore.upcasting import StoredForm, Upcast
from services.kernel.clock import SimulatedClock
from services.rpc.projection_face import PROJECTION_SERVICE, ProjectionFace
from tests.projection_room import NOON, RENAMED, Bench
from tests.served import WAIT_S, served

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "tables.db")
    made.runner.start()
    yield made
    made.close()
    made.store.close()


@pytest.fixture
def run(bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs `meterlog …` against an aggregator that has the projection "slugs"; exit code, and the JSON or the text."""
    monkeypatch.setenv("COLUMNS", "160")
    clock = SimulatedClock(NOON)
    full, empty = ProjectionFace([bench.runner], clock), ProjectionFace([], clock)
    with (
        served([(PROJECTION_SERVICE, full.register)]) as aggregator,
        served([(PROJECTION_SERVICE, empty.register)]) as other,
    ):
        for name in ("INGEST", "AGGREGATOR", "RATING", "NOTIFIER"):
            monkeypatch.setenv(f"METERLOG_{name}_ADDRESS", aggregator if name == "AGGREGATOR" else other)

        def command(*arguments: str) -> tuple[int, Any]:
            monkeypatch.setattr(sys, "argv", ["meterlog", *arguments])
            capsys.readouterr()
            code = main()
            lines = [line for line in capsys.readouterr().out.splitlines(keepends=True) if "[info" not in line]
            text = "".join(line for line in lines if "[warning" not in line)
            return code, json.loads(text) if "--json" in arguments else text

        yield command


def fold(bench: Bench, *slugs: str) -> None:
    bench.runner.wait_for([bench.meter(slug) for slug in slugs][-1], WAIT_S)


def test_a_rebuild_is_told_with_both_digests(run: Run, bench: Bench) -> None:
    fold(bench, "a", "b")
    code, (rebuilt,) = run("rebuild", "--all", "--json")
    assert code == 0
    assert rebuilt["live_digest"] == rebuilt["rebuilt_digest"]
    assert (rebuilt["events"], rebuilt["equal"], rebuilt["swapped"], rebuilt["held"]) == (2, True, True, False)


def test_a_dry_run_shows_what_differs_changes_nothing_and_fails(run: Run, bench: Bench) -> None:
    fold(bench, "a", "b")
    with bench.database.write() as connection, bench.runner.read() as (_, tables):
        connection.execute(update(tables.slugs).where(tables.slugs.c.slug == "a").values(events=7))
    code, text = run("rebuild", "slugs", "--dry-run")
    assert code == 1
    assert "keys that differ" in text
    assert "slug=a" in text
    assert bench.rows() == {"a": 7, "b": 1}
    code, (rebuilt,) = run("rebuild", "slugs", "--compare-only", "--examples", "0", "--json")
    assert (code, rebuilt["differences"]) == (
        1,
        [{"table": "slugs", "rows": 1, "live_rows": 2, "rebuilt_rows": 2, "example_keys": []}],
    )
    assert run("rebuild", "--replace", "--json")[1][0]["swapped"]
    assert bench.rows() == {"a": 1, "b": 1}


def test_a_rebuild_is_held_listed_gone_on_with_and_discarded(run: Run, bench: Bench) -> None:
    fold(bench, *"abcdef")
    assert run("rebuild", "slugs", "--until", "3", "--json")[1][0]["held"]
    listed = next(found for found in run("projections", "--json")[1] if found["projection"] == "slugs")
    assert listed["held_rebuilds"] == [{"position": 3, "events": 3}]
    assert "held at" in run("projections")[1]
    code, refusal = run("rebuild", "slugs", "--from", "2", "--json")
    assert (code, refusal["error"]["reason"]) == (1, "NO_REBUILD_HELD")
    assert "held are: 3" in refusal["error"]["message"]
    code, (rebuilt,) = run("rebuild", "--resume", "--json")
    assert (code, rebuilt["events"], rebuilt["swapped"]) == (0, 6, True)
    run("rebuild", "slugs", "--until", "3")
    assert run("rebuild", "--discard", "--json") == (0, {"discarded": [{"projection": "slugs", "position": 3}]})
    assert run("rebuild", "--discard")[1].strip() == "no rebuild is held"


def test_parked_events_are_listed_and_skipped(run: Run, bench: Bench) -> None:
    bench.runner.wait_for(bench.renamed("a"), WAIT_S)
    code, (parked,) = run("projections", "parked", "--json")
    assert code == 1, "something waits for a decision"
    assert (parked["state"], parked["position"], parked["type"]) == ("parked", 1, "MeterRenamed")
    assert "events are parked" in run("projections")[1]
    code, decided = run("projections", "skip", "slugs", "1", "--reason", "a test", "--by", "Ada", "--json")
    assert (code, decided["state"], decided["reason"], decided["decided_by"]) == (0, "skipped", "a test", "Ada")
    assert run("projections", "parked", "--json") == (0, [])
    (listed,) = run("projections", "parked", "--skipped", "--json")[1]
    assert (listed["position"], listed["decided_at"]) == (1, "2024-01-31T12:00:00Z")
    code, refusal = run("projections", "skip", "slugs", "9", "--reason", "a test", "--json")
    assert (code, refusal["error"]["reason"]) == (1, "EVENT_NOT_PARKED")


def test_a_retry_waits_for_the_upgrade_and_then_folds_parked_events_in(
    run: Run, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold(bench, "a")
    assert run("projections", "retry", "slugs", "--json")[1]["error"]["reason"] == "NOTHING_PARKED"
    bench.runner.wait_for(bench.renamed("a", b"\x0a\x01a"), WAIT_S)
    code, refusal = run("projections", "retry", "slugs", "--json")
    assert (code, refusal["error"]["reason"]) == (1, "UNKNOWN_EVENT_TYPE")
    fold(bench, "b")
    archived = Upcast((("MeterArchived", 1),), lambda stored: [StoredForm("MeterArchived", 1, stored.payload)])
    monkeypatch.setitem(UPCASTS, RENAMED, archived)
    code, (rebuilt,) = run("projections", "retry", "slugs", "--json")
    assert (code, rebuilt["swapped"]) == (0, True)
    assert bench.rows() == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    "arguments",
    [
        ("rebuild", "--dry-run", "--replace"),
        ("rebuild", "slugs", "--all"),
        ("rebuild", "--cancel", "--discard"),
        ("rebuild", "--until", "3"),
        ("rebuild", "--parallel", "99"),
        ("rebuild", "nothing"),
        ("rebuild", "slugs", "--from", str(2**63)),
        ("rebuild", "slugs", "--until", str(2**63)),
        ("projections", "skip", "slugs", str(2**63), "--reason", "a test"),
    ],
)
def test_what_makes_no_sense_is_told_as_such(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments)[0] == 2


def test_there_is_nothing_to_cancel_or_to_go_on_with(run: Run) -> None:
    assert run("rebuild", "--cancel", "--json") == (0, {"cancelled": []})
    assert run("rebuild", "slugs", "--cancel", "--json")[1]["error"]["reason"] == "NO_REBUILD_RUNS"
    assert run("rebuild", "--resume", "--json")[1]["error"]["reason"] == "NO_REBUILD_HELD"
