"""Simulated usage: the same seed is the same usage, and it has the shape that was asked for."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from meterlog.client.channel import connection
from meterlog.client.testing import IngestInMemory
from services.cli.simulating.doors import Door, Doors, usage_events
from services.cli.simulating.load import BLOCK_ROWS, MODELS, REGIONS, TYPES, Load, load_batches
from services.cli.simulating.shares import Shares
from services.cli.simulating.simulation import Pace, Tally, simulate

ROWS = BLOCK_ROWS + 30_000


@pytest.fixture(scope="module")
def load():
    return pa.Table.from_batches(load_batches(Load(events=ROWS), 50_000)).combine_chunks()


def test_a_row_depends_on_the_seed_and_not_on_the_size_of_batches(load):
    again = pa.Table.from_batches(load_batches(Load(events=ROWS), 7_001)).combine_chunks()
    assert all(
        again.column(name).cast(pa.string()) == load.column(name).cast(pa.string()) for name in load.schema.names
    )
    other = next(load_batches(Load(events=ROWS, seed=2)))
    assert set(other.column("id").to_pylist()).isdisjoint(load.column("id").to_pylist())


def test_every_batch_but_the_last_has_the_rows_that_were_asked_for():
    assert [batch.num_rows for batch in load_batches(Load(events=ROWS), 40_000)] == [40_000, 40_000, ROWS - 80_000]


def test_the_reference_load_has_its_shape(load):
    assert len(set(load.column("id").to_pylist())) == ROWS
    assert set(pc.utf8_length(load.column("id")).to_pylist()) == {32}
    types = Counter(load.column("type").to_pylist())
    assert types.keys() == set(TYPES)
    assert max(types.values()) - min(types.values()) <= 1
    assert set(load.column("p.model").to_pylist()) == set(MODELS)
    assert set(load.column("p.region").to_pylist()) == set(REGIONS)
    assert len(set(load.column("source").to_pylist())) == 8
    subjects = Counter(load.column("subject").to_pylist())
    assert subjects.most_common(1)[0][0] == "customer-0000"
    assert subjects["customer-0000"] > 1.8 * subjects["customer-0001"] > 0


def test_values_are_decimals_of_up_to_six_places(load):
    places = Counter(-value.normalize().as_tuple().exponent for value in load.column("value").to_pylist())
    assert {place for place in places if place > 0} == {1, 2, 3, 4, 5, 6}
    assert pc.min(load.column("value")).as_py() > 0


def test_usage_is_roughly_in_order_and_some_of_it_is_late(load):
    times = load.column("time").to_pylist()
    start = datetime(2026, 1, 5, tzinfo=UTC)
    assert start <= min(times)
    assert max(times) < start + timedelta(days=7)
    latest, late = start, 0
    for time in times:
        late += time < latest - timedelta(seconds=5)
        latest = max(latest, time)
    assert 0.015 < late / ROWS < 0.025


@pytest.mark.parametrize("door", list(Door))
def test_what_went_wrong_on_purpose_is_what_the_service_answers(door):
    shares = Shares(duplicate_per_mille=100, conflict_per_mille=50, wrong_per_mille=30)
    load = Load(events=600, shares=shares)
    expected, seen = Counter(), {}
    for event in usage_events(next(load_batches(load, 600))):
        known = seen.get((event.source, event.id))
        expected[
            "invalid"
            if not event.id
            else "recorded"
            if known is None
            else "duplicate"
            if known == event
            else "conflict"
        ] += 1
        if event.id:
            seen.setdefault((event.source, event.id), event)
    assert min(expected.values()) > 0
    with IngestInMemory() as ingest:
        doors = Doors(connection(ingest.address, "", "", "", None))
        tally = simulate(load, door, Pace(in_flight=1), doors, lambda _: None)
        doors.close()
    assert tally.outcomes == expected
    assert tally.events == 600


def test_a_pace_is_kept():
    with IngestInMemory() as ingest:
        doors = Doors(connection(ingest.address, "", "", "", None))
        tally = simulate(Load(events=300), Door.ROWS, Pace(per_second=1_000, rows_per_call=100), doors, lambda _: None)
        doors.close()
    assert (tally.events, len(tally.latencies_s)) == (300, 3)
    assert tally.seconds >= 0.2


def test_latencies_are_told_by_nearest_rank():
    tally = Tally()
    for number in range(1, 101):
        tally.add((number / 1000, Counter(recorded=1)))
    tally.seconds = 2.0
    document = tally.document()
    assert document["latency_ms"] == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}
    assert document["usage_events_per_second"] == 50
