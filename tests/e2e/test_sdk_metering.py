"""Meters and periods from the SDK, against the platform: from the first meter to a closed period that is restated."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from meterlog.client import (
    AsyncMeterlog,
    CallFailed,
    ClosedPeriod,
    Condition,
    Meter,
    Meterlog,
    RestatedTotal,
    UsageOutcome,
    WrongValue,
)
from services.cli.platform import Platform
from services.cli.processes.environment import PlatformSettings
from services.cli.processes.var_lock import VarLock
from services.kernel.clock import monotonic_s

WAIT_S = 120.0
SUNDAY = datetime(2025, 10, 26, 12, tzinfo=UTC)  # 25 hours long in Berlin
DAY = (SUNDAY - timedelta(hours=14), SUNDAY + timedelta(hours=11))
TOKENS = Meter("tokens", "llm", "sum", value_property="input", group_by=("region",), filters=("input>=1",))
BERLIN = "Europe/Berlin"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    var: Path = tmp_path_factory.mktemp("sdk")
    settings = PlatformSettings(var=var, port_base=0)
    with Platform(settings, VarLock.take(var), lambda _line: None) as platform:
        yield platform


@pytest.fixture
def meterlog(platform: Platform) -> Iterator[Meterlog]:
    addresses = platform.addresses
    with Meterlog(addresses["ingest"], aggregator=addresses["aggregator"], source="test") as client:
        yield client


def record(meterlog: Meterlog, subject: str, **properties: int) -> None:
    event = meterlog.event(type="llm", subject=subject, time=SUNDAY, properties=properties)
    (result,) = meterlog.record_batch([event])
    meterlog.periods.usage(subject, min_position=result.position)


def restated(meterlog: Meterlog) -> ClosedPeriod:
    """The period that was restated, once it is; restating is gathered for some seconds."""
    deadline = monotonic_s() + WAIT_S
    while monotonic_s() < deadline:
        for period in meterlog.periods.closed("globex", "day", only_restated=True):
            return period
    raise AssertionError("no period was restated")


def test_a_meter_is_created_previewed_redefined_and_archived(platform: Platform, meterlog: Meterlog) -> None:
    record(meterlog, "acme", input=100, output=20)
    created = meterlog.meters.create(TOKENS)
    assert meterlog.meters.create(TOKENS) == created
    assert (created.version, created.aggregation, created.group_by) == (1, "sum", ("region",))
    assert created.filters == (Condition("input", "greater_or_equal", ("1",)),)
    dearer = replace(created, value_property="", value_expression="input + 3 * output")
    preview = meterlog.meters.preview(dearer, *DAY, subjects=["acme"])
    (change,) = preview.changes
    assert (change.current_value, change.new_value, preview.counted_count) == (Decimal(100), Decimal(160), 1)

    redefined = meterlog.meters.redefine(dearer, expected_version=created.version, effective_from=SUNDAY)
    assert (redefined.version, redefined.effective_from, redefined.value_property) == (2, SUNDAY, "")
    assert meterlog.meters.versions("tokens") == (created, redefined)
    with pytest.raises(CallFailed, match="at version 2, not 1"):
        meterlog.meters.redefine(replace(dearer, value_expression="input"), expected_version=1)
    with pytest.raises(WrongValue, match='aggregation is "median"'):
        meterlog.meters.create(replace(TOKENS, aggregation="median"))

    async def the_same() -> list[Meter]:
        address = platform.addresses["aggregator"]
        async with AsyncMeterlog(aggregator=address) as client:
            assert await client.meters.get("tokens") == redefined
            await client.meters.create(Meter("calls", "llm", "count"))
            assert (await client.meters.archive("calls")).archived_at is not None
            return [meter async for meter in client.meters.list(include_archived=True)]

    assert {"calls", "tokens"} <= {meter.slug for meter in asyncio.run(the_same())}
    assert "calls" not in {meter.slug for meter in meterlog.meters.list()}


def test_a_period_runs_is_closed_and_is_restated(platform: Platform, meterlog: Meterlog) -> None:
    meterlog.meters.create(replace(TOKENS, slug="input_tokens"))
    record(meterlog, "globex", input=100)
    before = meterlog.periods.usage("globex", "day", at=SUNDAY, time_zone=BERLIN)
    assert (before.closed, before.start_at, before.end_at) == (None, *DAY)
    closing = meterlog.periods.close("day", SUNDAY, time_zone=BERLIN, subject="globex")
    assert (closing.closed_count, closing.already_closed_count) == (1, 0)
    record(meterlog, "globex", input=7)

    period = restated(meterlog)
    (restatement,) = period.restatements
    assert before.totals["input_tokens"] == 100
    assert RestatedTotal("input_tokens", Decimal(100), Decimal(107)) in restatement.totals
    assert period.totals["input_tokens"] == 107

    async def the_same() -> tuple[object, ...]:
        async with AsyncMeterlog(aggregator=platform.addresses["aggregator"]) as client:
            usage = await client.periods.usage("globex", "day", at=SUNDAY, time_zone=BERLIN)
            again = await client.periods.close("day", SUNDAY, time_zone=BERLIN, subject="globex")
            return (
                usage.closed,
                again.already_closed_count,
                [each async for each in client.periods.closed("globex", "day")],
            )

    assert asyncio.run(the_same()) == (period, 1, [period])


def test_cloud_events_are_recorded_reported_archived_and_checked(platform: Platform, meterlog: Meterlog) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "edge", "type": "llm", "subject": "initech", "time": SUNDAY}
    (recorded,) = meterlog.record_cloud_events({**event, "data": {"input": 7}})
    meterlog.meters.create(replace(TOKENS, slug="sent_tokens"))
    (found,) = meterlog.usage.query("sent_tokens", *DAY, subjects=["initech"], min_position=recorded.position)
    assert (found.value, meterlog.usage.event("edge", "1").properties) == (Decimal(7), {"input": "7"})
    assert meterlog.meters.update("sent_tokens", unit="token", display_name="Sent").display_name == "Sent"
    assert meterlog.storage.compact().archive.position >= recorded.position

    async def the_same() -> None:
        addresses = platform.addresses
        async with AsyncMeterlog(addresses["ingest"], aggregator=addresses["aggregator"]) as client:
            (again,) = await client.record_cloud_events({**event, "data": {"input": 8}})
            assert (again.outcome, again.position) == (UsageOutcome.CONFLICT, recorded.position)
            rows = (await client.usage.report()).rows
            assert [row.count for row in rows if row.reason == "OTHER_CONTENT_RECORDED"] == [1]
            archive = await client.storage.archive()
            assert (archive.problem, archive.first_day, archive.usage_event_count > 0) == ("", None, True)
            check = await client.storage.check(samples=None)
            assert (check.difference_count, check.differences) == (0, ())
            assert (await client.storage.checked()).last == check
            assert (await client.meters.update("sent_tokens", unit="tok")).unit == "tok"

    asyncio.run(the_same())
