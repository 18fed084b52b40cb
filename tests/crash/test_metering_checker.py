"""The checker of metering sees what is wrong: histories that hold break no law, and each forgery breaks its own."""

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from meterlog.events.v1.meter_pb2 import PeriodTotal, RestatedTotal, UsagePeriodClosed, UsagePeriodRestated
from meterlog.ingest.v1.ingest_pb2 import Receipt
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.archive.rows import event_rows
from services.aggregator.meters.definition import Definition
from services.kernel.clock import epoch_us
from services.kernel.failpoint import NAMES
from services.kernel.timestamp import to_timestamp
from tests.aggregator_room import DAY, Log
from tests.crash.inspection import read_log
from tests.crash.law import Law
from tests.crash.metering.archive_laws import archive_violations
from tests.crash.metering.chances import some_history
from tests.crash.metering.ledger import Asked, Ledger, Told
from tests.crash.metering.period_laws import period_violations
from tests.crash.metering.plain_count import PlainCount
from tests.crash.metering.plain_log import PlainLog, read_plain
from tests.crash.metering.reaper import POINTS
from tests.crash.metering.recorded_laws import recorded_violations, repeated_violations
from tests.crash.metering.window_laws import answer_violations
from tests.plain_corrections import usage_that_counts
from tests.plain_usage import Event

CALLS = Definition("calls", "", "call", AggregationName.COUNT, "", (), "")
LISTED = "CREATE TABLE usage_archive_files (name, after, until, start_us, end_us, rows, is_removed)"


@pytest.fixture
def log() -> Log:
    """Five usage events of one customer, and the meter that counts them."""
    log = Log()
    log.create([CALLS])
    log.record([call(minute) for minute in range(3)])
    log.record([call(minute) for minute in range(2)])
    return log


def call(minute: int) -> Event:
    return Event("call", "ann", DAY + timedelta(minutes=minute), Decimal(minute), {})


def plain(log: Log) -> PlainLog:
    return read_plain(read_log(log.store))


def honest(log: PlainLog) -> Ledger:
    """A ledger of a client that sent all of it, and was told so."""
    ledger = Ledger(sent={log.names[place]: event for place, event in log.by_place.items()})
    receipts = [
        Receipt(
            position=event.position,
            stream=str(event.stream),
            version=event.version,
            leaf=event.leaf,
            recorded_at=to_timestamp(event.recorded_at),
        )
        for event in log.events.values()
        if event.stream.category == "usage"
    ]
    ledger.tell([Told(name, "recorded", place[0]) for place, name in log.names.items()], receipts)
    ledger.contradicted.append(replace(ledger.told[0], outcome="conflict"))
    ledger.attempt("meter", "calls")
    ledger.decide("meter", "calls")
    return ledger


def lost(ledger: Ledger, _: PlainLog) -> None:
    ledger.told.append(Told(("gone", "1"), "recorded", 0))


def made_up(ledger: Ledger, _: PlainLog) -> None:
    del ledger.sent[ledger.told[0].name]


def changed(ledger: Ledger, _: PlainLog) -> None:
    ledger.sent[ledger.told[0].name] = call(59)


def doubled(_: Ledger, log: PlainLog) -> None:
    first = min(log.names)
    log.usage.append(replace(log.usage[0], row=99))
    log.names[first[0], 99] = log.names[first]


def recorded_again(ledger: Ledger, _: PlainLog) -> None:
    ledger.told.append(ledger.told[0])


def not_known(ledger: Ledger, _: PlainLog) -> None:
    ledger.told.append(replace(ledger.told[0], outcome="conflict"))


def not_contradicted(ledger: Ledger, _: PlainLog) -> None:
    ledger.contradicted.append(replace(ledger.told[0], outcome="duplicate"))


def elsewhere(ledger: Ledger, _: PlainLog) -> None:
    ledger.told.append(replace(ledger.told[0], outcome="duplicate", position=77))


def wrong_leaf(ledger: Ledger, _: PlainLog) -> None:
    next(iter(ledger.receipts.values())).leaf = bytes(32)


def forgotten(ledger: Ledger, _: PlainLog) -> None:
    ledger.decide("correction", "c1")


def nobody_asked(ledger: Ledger, _: PlainLog) -> None:
    ledger.attempted.clear()


def decided_again(_: Ledger, log: PlainLog) -> None:
    created = log.events[1]
    log.events[99] = replace(created, version=created.version + 1)


FORGERIES: dict[Callable[[Ledger, PlainLog], None], Law] = {
    lost: Law.KEPT,
    made_up: Law.NO_PHANTOM,
    changed: Law.NO_PHANTOM,
    doubled: Law.ONCE,
    recorded_again: Law.ONCE,
    not_known: Law.DEDUPE,
    not_contradicted: Law.DEDUPE,
    elsewhere: Law.IN_PLACE,
    wrong_leaf: Law.IN_PLACE,
    forgotten: Law.KEPT,
    nobody_asked: Law.NO_PHANTOM,
    decided_again: Law.ONCE,
}


def test_every_failpoint_is_one_at_which_a_service_of_metering_is_killed() -> None:
    assert {point for points in POINTS.values() for point in points} == NAMES


def test_what_was_told_honestly_breaks_no_law(log: Log) -> None:
    assert recorded_violations(honest(plain(log)), plain(log)) == []


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.__name__)
def test_a_forged_history_breaks_its_law(log: Log, forgery: Callable[[Ledger, PlainLog], None]) -> None:
    read = plain(log)
    ledger = honest(read)
    forgery(ledger, read)
    assert {violation.law for violation in recorded_violations(ledger, read)} == {FORGERIES[forgery]}


def test_a_repeat_that_is_recorded_again_is_seen(log: Log) -> None:
    before = plain(log)
    log.record([call(0)])
    told = [Told(before.names[place], "duplicate", place[0]) for place in before.names]
    assert repeated_violations(told, before, before) == []
    assert {each.law for each in repeated_violations(told, before, plain(log))} == {Law.ONCE}
    told[0] = replace(told[0], outcome="recorded")
    assert {each.law for each in repeated_violations(told, before, before)} == {Law.DEDUPE}


def test_an_answer_that_is_off_by_one_or_old_is_seen(log: Log) -> None:
    read = plain(log)
    count = PlainCount(read)
    right = Asked("calls", read.head, False, read.head, {("ann", ()): "5"})
    then = Asked("calls", 2, True, 0, {("ann", ()): "3"})
    assert answer_violations([right, then], count) == []
    off = replace(right, rows={("ann", ()): "6"})
    assert [each.law for each in answer_violations([off], count)] == [Law.WINDOWS]
    assert [each.law for each in answer_violations([replace(then, rows={})], count)] == [Law.WINDOWS]
    assert [each.law for each in answer_violations([replace(right, at_least=99)], count)] == [Law.FRESH_READ]


def closed(quantity: str, position: int = 2, at: int = 10) -> tuple[int, UsagePeriodClosed]:
    event = UsagePeriodClosed(subject="ann", period="month", position=position)
    event.start_at.CopyFrom(to_timestamp(DAY.replace(day=1)))
    event.end_at.CopyFrom(to_timestamp(DAY + timedelta(days=1)))
    event.totals.append(PeriodTotal(meter="calls", quantity=quantity))
    return at, event


def restated(old: str, new: str, previous: int = 2, number: int = 1) -> tuple[int, UsagePeriodRestated]:
    event = UsagePeriodRestated(
        subject="ann", period="month", position=3, previous_position=previous, restatement=number
    )
    event.start_at.CopyFrom(closed("")[1].start_at)
    event.end_at.CopyFrom(closed("")[1].end_at)
    event.totals.append(RestatedTotal(meter="calls", old_quantity=old, new_quantity=new))
    return 11, event


@pytest.mark.parametrize(
    "said",
    [
        [],
        [closed("3")],
        [closed("2"), restated("2", "5")],
        [closed("3"), restated("2", "5")],
        [closed("3"), restated("3", "4")],
        [closed("3"), restated("3", "5", previous=1)],
        [closed("3"), restated("3", "5", number=2)],
        [closed("3"), closed("5", 3, 11)],
        [restated("3", "5")],
        [closed("5", 11, 10)],
    ],
)
def test_periods_that_were_said_wrongly_are_seen(log: Log, said: list[tuple[int, UsagePeriodClosed]]) -> None:
    read = plain(log)
    read.periods["period-ann"] = [closed("3"), restated("3", "5")]
    assert period_violations(read, PlainCount(read), 1) == []
    read.periods.clear()
    if said:
        read.periods["period-ann"] = list(said)
    assert {each.law for each in period_violations(read, PlainCount(read), 1)} == {Law.PERIODS}


def archived(folder: Path, log: Log, files: dict[str, tuple[int, int]], position: int) -> str:
    """An archive of files, each of the rows recorded in a span, listed up to a position."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    database = folder / "tables.db"
    usage = [event for event in read_log(log.store) if event.stream.category == "usage"]
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(LISTED)
        connection.execute("CREATE TABLE usage_archive_state (position)")
        connection.execute("INSERT INTO usage_archive_state VALUES (?)", [position])
        for name, (after, until) in files.items():
            rows = pa.concat_tables([event_rows(event) for event in usage if after < event.position <= until])
            pq.write_table(rows, folder / name)
            listed = (name, after, until, epoch_us(DAY), epoch_us(DAY + timedelta(days=1)), rows.num_rows, 0)
            connection.execute("INSERT INTO usage_archive_files VALUES (?, ?, ?, ?, ?, ?, ?)", listed)
        connection.commit()
    return f"sqlite:///{database}"


@pytest.mark.parametrize(
    ("files", "position", "is_whole"),
    [
        ({"a.parquet": (0, 2), "b.parquet": (2, 3)}, 3, True),
        ({"a.parquet": (0, 2)}, 2, True),
        ({"a.parquet": (0, 2)}, 3, False),
        ({"a.parquet": (0, 2), "b.parquet": (0, 3)}, 3, False),
        ({"a.parquet": (0, 3)}, 2, False),
    ],
)
def test_an_archive_that_lacks_or_doubles_usage_is_seen(
    log: Log, tmp_path: Path, files: dict[str, tuple[int, int]], position: int, is_whole: bool
) -> None:
    database = archived(tmp_path, log, files, position)
    found, _ = archive_violations(plain(log), database, tmp_path, is_tidy=False)
    assert ({each.law for each in found} == set()) is is_whole
    tidy, _ = archive_violations(plain(log), database, tmp_path, is_tidy=True)
    assert any("tables.db belongs to nobody" in each.evidence for each in tidy)


def test_the_quick_count_is_the_long_one_whatever_was_said() -> None:
    chance = random.Random(20240131)
    for _ in range(20):
        recorded, said = some_history(chance)
        log = PlainLog(usage=recorded, said=said)
        for at in range(0, 30, 3):
            assert PlainCount(log).counting(at) == usage_that_counts(recorded, said, at)
