"""The shadow recompute: whatever one unit is planted where, it is found, and nothing else is."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, delete, insert, update

from meterlog.aggregator.v1 import aggregator_pb2 as api
from meterlog.aggregator.v1 import storage_pb2
from services.aggregator.api.usage_check import UsageChecks
from services.aggregator.check.checking import Checking
from services.aggregator.check.usage_check import UsageCheck
from services.aggregator.check.worker import UsageCheckWorker
from services.aggregator.deadline import Deadline
from services.aggregator.tables import UsageTables
from services.kernel.clock import epoch_us
from services.kernel.errors import InvalidInput, Overloaded, TimedOut
from services.kernel.timestamp import to_timestamp
from services.projection.projection import RebuildMode
from tests.aggregator_room import DAY, WAIT_S, AggregatorRoom, call, open_room

HOUR_US = epoch_us(DAY)
METERS: dict[str, dict[str, Any]] = {
    "calls": {"aggregation": api.AGGREGATION_COUNT},
    "tokens": {"aggregation": api.AGGREGATION_SUM},
    "least": {"aggregation": api.AGGREGATION_MIN},
    "mean": {"aggregation": api.AGGREGATION_AVG},
    "newest": {"aggregation": api.AGGREGATION_LAST},
    "level": {"aggregation": api.AGGREGATION_WEIGHTED_SUM},
    "users": {"aggregation": api.AGGREGATION_UNIQUE_COUNT, "value_property": "user"},
    "p90": {"aggregation": api.AGGREGATION_PERCENTILE, "percentile": "90"},
    "cost": {"aggregation": api.AGGREGATION_SUM, "value_expression": "round(value / 3, 4) * 2 - min(size, 1)"},
}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    with open_room(tmp_path) as opened:
        for slug, fields in METERS.items():
            opened.create(slug, **fields)
        for batch in range(4):
            opened.record(
                [
                    call(n % 3, str(n + batch), subject=f"s{n % 4}", region="eu", user=f"u{n % 7}", size=f"{n}.5")
                    for n in range(20)
                ]
            )
        yield opened


def everything(room: AggregatorRoom) -> UsageCheck:
    return room.checker.check_all(1, Deadline.after(WAIT_S))


def samples(room: AggregatorRoom, count: int = 500, seed: int = 7) -> UsageCheck:
    return room.checker.check_samples(count, seed, (), Deadline.after(WAIT_S), 10**9)


def plant(room: AggregatorRoom, planted: str) -> None:
    """Change a live table behind the fold's back."""
    with room.windows.read() as (_, tables):
        statement = PLANTED[planted](tables)
    with room.database.write() as connection:
        assert connection.execute(statement).rowcount != 0


def of_meter(table: Table, meter: str, subject: str) -> Any:
    return (table.c.meter == meter) & (table.c.hour_us == HOUR_US) & (table.c.subject == subject)


def set_to(table: Table, meter: str, subject: str = "s0", **columns: str | int) -> Any:
    return update(table).where(of_meter(table, meter, subject)).values(**columns)


PLANTED: dict[str, Callable[[UsageTables], Any]] = {
    "a count": lambda tables: set_to(tables.amounts, "calls", count="9"),
    "a sum": lambda tables: set_to(tables.amounts, "tokens", number="60.000000000001"),
    "a minimum": lambda tables: set_to(tables.amounts, "least", number="0.000000000001"),
    "the numbers of a mean": lambda tables: set_to(tables.amounts, "mean", number="60.000000000001"),
    "the count of a mean": lambda tables: set_to(tables.amounts, "mean", "s1", count="9"),
    "the newest number": lambda tables: set_to(tables.moments, "newest", number="15.000000000001"),
    "the place of the newest": lambda tables: set_to(tables.moments, "newest", "s1", row=13),
    "a level": lambda tables: set_to(tables.moments, "level", number="15.000000000001"),
    "an expression": lambda tables: set_to(tables.amounts, "cost", number="32.0000000001"),
    "a text more": lambda tables: insert(tables.texts).values(
        meter="users", hour_us=HOUR_US, subject="s0", group_text='["eu"]', text="nobody"
    ),
    "a text less": lambda tables: delete(tables.texts).where(
        of_meter(tables.texts, "users", "s1") & (tables.texts.c.text == "u2")
    ),
    "a missing state": lambda tables: delete(tables.amounts).where(of_meter(tables.amounts, "tokens", "s1")),
    "a state of nobody": lambda tables: insert(tables.amounts).values(
        meter="tokens", hour_us=HOUR_US, subject="phantom", group_text='["eu"]', number="1"
    ),
    "a group that is none": lambda tables: set_to(
        tables.amounts, "tokens", "s2", group_text='["eu"]\n["mars"]', number="60\n1"
    ),
    "a group without a number": lambda tables: set_to(tables.amounts, "tokens", "s3", group_text='["eu"]\n["mars"]'),
    "an hour that no query looks at": lambda tables: delete(tables.meter_hours).where(
        (tables.meter_hours.c.meter == "calls") & (tables.meter_hours.c.hour_us == HOUR_US)
    ),
}


def test_what_the_fold_has_counted_is_what_the_log_says(room: AggregatorRoom) -> None:
    checked = everything(room)
    assert (checked.difference_count, checked.differences) == (0, ())
    # Nine meters, three hours, four subjects in one group each.
    assert (checked.checked_count, checked.usage_event_count) == (9 * 3 * 4, 80)
    assert samples(room).difference_count == 0


def test_one_unit_planted_anywhere_is_found(room: AggregatorRoom) -> None:
    found = 0
    for planted in PLANTED:
        plant(room, planted)
        checked = everything(room)
        assert checked.difference_count > found, planted
        found = checked.difference_count
        assert {difference.key.hour_us for difference in checked.differences} == {HOUR_US}


def test_samples_find_what_a_check_of_everything_finds(room: AggregatorRoom) -> None:
    for planted in PLANTED:
        plant(room, planted)

    assert set(samples(room, 1_000).differences) == set(everything(room).differences)


def test_usage_that_the_index_of_batches_does_not_list_is_found(room: AggregatorRoom) -> None:
    with room.windows.read() as (_, tables), room.database.write() as connection:
        connection.execute(delete(tables.batches))

    checked = everything(room)
    assert {difference.key.meter for difference in checked.differences} == {"p90"}
    assert checked.differences[0].held is None


def test_a_difference_says_what_is_held_and_what_was_recounted(room: AggregatorRoom) -> None:
    plant(room, "a sum")
    (difference,) = everything(room).differences

    assert difference.keys == ("region",)
    assert (difference.key.meter, difference.key.subject, difference.key.group) == ("tokens", "s0", ("eu",))
    assert difference.held is not None
    assert difference.recounted is not None
    assert (difference.held.shown(), difference.recounted.shown()) == ("60.000000000001", "60")


def test_a_check_is_repeated_by_its_seed(room: AggregatorRoom) -> None:
    one, again, other = (samples(room, 20, seed) for seed in (5, 5, 6))

    assert (one.checked_count, one.usage_event_count) == (again.checked_count, again.usage_event_count)
    assert one.seed != other.seed


def test_a_log_that_memory_cannot_hold_is_counted_in_parts(
    room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = everything(room)
    monkeypatch.setattr("services.aggregator.check.checker.STATES_MAX", 40)

    in_parts = everything(room)
    assert (in_parts.checked_count, in_parts.usage_event_count) == (whole.checked_count, whole.usage_event_count)
    plant(room, "a missing state")
    assert everything(room).difference_count == 1


def test_a_check_ends_with_its_deadline(room: AggregatorRoom) -> None:
    with pytest.raises(TimedOut):
        room.checker.check_all(1, Deadline.after(-1))
    with pytest.raises(TimedOut):
        room.checker.check_samples(10, 1, (), Deadline.after(-1), 10**9)


def test_a_redefined_meter_and_older_groups_are_checked_by_their_versions(room: AggregatorRoom) -> None:
    later = api.Meter(
        slug="tokens",
        event_type="call",
        aggregation=api.AGGREGATION_SUM,
        group_by=["region", "user"],
        value_property="size",
    )
    request = api.RedefineMeterRequest(slug="tokens", meter=later, expected_version=1)
    request.effective_from.CopyFrom(to_timestamp(DAY + timedelta(hours=1)))
    room.meters.redefine(request, WAIT_S)
    room.record([call(0, "100", region="us", user="u1"), call(2, "100", region="us", user="u1", size="0.25")])

    assert everything(room).difference_count == 0
    assert samples(room).difference_count == 0


# --- alarm -----------------------------------------------------------------------------------------------------------


def test_a_difference_is_an_alarm_until_it_is_well_again(
    room: AggregatorRoom, capsys: pytest.CaptureFixture[str]
) -> None:
    checking = Checking(room.checker)
    worker = UsageCheckWorker(checking, room.windows, timedelta(hours=1), 2_000)
    worker.check_once()
    assert worker.problem() == ""

    plant(room, "a sum")
    worker.check_once()
    assert 'meter "tokens", subject "s0"' in worker.problem()
    said = capsys.readouterr().out
    assert "usage check found a difference" in said
    for shown in ("tokens", "s0", "2024-03-31T00:00:00+00:00", "held=60.000000000001", "recounted=60"):
        assert shown in said

    checking.check_samples(1, 3, Deadline.after(WAIT_S))
    assert worker.problem(), "what differed is looked at again, whatever is drawn"
    assert checking.found.difference_count == 2
    room.windows.rebuild(mode=RebuildMode.REPLACE, progress=lambda _: None)
    worker.check_once()
    assert worker.problem() == ""


def test_checks_are_run_one_at_a_time(room: AggregatorRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    checking = Checking(room.checker)

    def check_meanwhile(*_: Any) -> UsageCheck:
        with pytest.raises(Overloaded, match="runs already"):
            checking.check_samples(1, 1, Deadline.after(WAIT_S))
        return everything_once(1, Deadline.after(WAIT_S))

    everything_once = room.checker.check_all
    monkeypatch.setattr(room.checker, "check_all", check_meanwhile)
    assert checking.check_all(1, Deadline.after(WAIT_S)).difference_count == 0


def test_the_api_runs_a_check_and_says_what_was_found(room: AggregatorRoom) -> None:
    checks = UsageChecks(Checking(room.checker))
    assert not checks.get(storage_pb2.GetUsageCheckRequest()).HasField("last")
    plant(room, "a state of nobody")

    check = checks.run(storage_pb2.CheckUsageRequest(all=True), WAIT_S).check
    found = checks.get(storage_pb2.GetUsageCheckRequest())

    (difference,) = check.differences
    assert (difference.meter, difference.subject, dict(difference.group)) == ("tokens", "phantom", {"region": "eu"})
    assert (difference.held_value, difference.recounted_value) == ("1", "")
    assert (found.last, found.difference_count, found.checked_count) == (check, 1, check.checked_count)
    assert checks.run(storage_pb2.CheckUsageRequest(samples=10, seed=4), WAIT_S).check.seed == 4


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"samples": -1}, "samples"),
        ({"samples": 100_001}, "samples"),
        ({"samples": 1, "all": True}, "samples"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_malformed_check_is_refused_by_field(room: AggregatorRoom, asked: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        UsageChecks(Checking(room.checker)).run(storage_pb2.CheckUsageRequest(**asked), WAIT_S)
    assert refusal.value.field == field


def test_exact_decimals_stay_exact(room: AggregatorRoom) -> None:
    room.record([call(0, str(Decimal(10**26 - 1) + Decimal("0.000000000001")), subject="s0") for _ in range(30)])

    assert everything(room).difference_count == 0
