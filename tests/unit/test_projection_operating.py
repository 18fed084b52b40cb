"""An operator's day with one projection, in every database that tables are kept in."""

from pathlib import Path

import pytest
from sqlalchemy import delete

from services.eventstore.event import BEGINNING, Position
from services.projection.blame import CannotFold
from services.projection.projection import RebuildMode
from services.projection.skipping import Decision
from tests.databases import DATABASES
from tests.projection_room import NOON, WAIT_S, Bench, SlugProjection, unheard


@pytest.mark.parametrize("database", DATABASES)
def test_events_are_parked_and_skipped_a_rebuild_is_held_compared_and_takes_over(tmp_path: Path, database: str) -> None:
    bench = Bench(tmp_path / "tables.db", database)
    try:
        bench.runner.start()
        bench.meter("a")
        unknown = bench.renamed("größer 'quoted' \"name\"")
        bench.runner.wait_for([bench.meter(slug) for slug in "bcd"][-1], WAIT_S)
        assert [event.position for event in bench.runner.parked(BEGINNING, 10)] == [unknown]

        with pytest.raises(CannotFold, match="Upgrade it"):
            bench.runner.rebuild(mode=RebuildMode.REPLACE, progress=unheard)
        bench.restart(SlugProjection())
        bench.runner.start()
        assert [held.position for held in bench.runner.status().held] == [1]
        bench.runner.skip(unknown, Decision("größer", "Ada", "ops", NOON))
        assert bench.runner.status().parked == 0

        with bench.database.write() as connection, bench.runner.read() as (_, tables):
            connection.execute(delete(tables.slugs).where(tables.slugs.c.slug == "b"))
        dry = bench.runner.rebuild(mode=RebuildMode.COMPARE_ONLY, progress=unheard, start=Position(1), examples=5)
        assert [(found.table, found.rows, found.example_keys) for found in dry.differences] == [
            ("slugs", 1, ("slug=b",))
        ]
        assert bench.runner.rebuild(mode=RebuildMode.REPLACE, progress=unheard).is_swapped
        assert bench.rows() == dict.fromkeys("abcd", 1)
    finally:
        bench.close()
        bench.store.close()
