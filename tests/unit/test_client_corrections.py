"""Reading and correcting from the SDK: typed answers, whole lists, and repeats only where nobody answered."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.aggregator.v1 import aggregator_pb2, aggregator_pb2_grpc, correction_pb2, correction_pb2_grpc
from meterlog.client import AsyncMeterlog, CallFailed, Meterlog, UsageFilter, UsageName, WrongType, WrongValue
from tests.patience import in_time, patiently

START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2026, 2, 1, tzinfo=UTC)
AT = Timestamp(seconds=int(START.timestamp()))
DECISION = correction_pb2.CorrectionDecision(reason="test calls", decided_by="ann", decided_at=AT, position=9)


class Aggregator(aggregator_pb2_grpc.AggregatorServiceServicer):
    def __init__(self):
        self.requests = []
        self.down = 0
        self.over = threading.Event()

    def QueryUsage(self, request, _context):
        self.requests.append(aggregator_pb2.QueryUsageRequest.FromString(request.SerializeToString()))
        page = int(request.page_token or "0")
        row = aggregator_pb2.UsageRow(start_at=AT, end_at=AT, group={"subject": str(page)}, value=str(page))
        return aggregator_pb2.QueryUsageResponse(rows=[row], next_page_token="" if page == 2 else str(page + 1))

    def QueryTotals(self, request, context):
        if self.down:
            self.down -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "starting")
        totals = [aggregator_pb2.MeterTotal(meter=meter, value="1.5") for meter in request.meters]
        totals[-1].ClearField("value")
        return aggregator_pb2.QueryTotalsResponse(totals=totals, position=7)

    def WatchUsage(self, request, _context):
        for position in range(3):
            row = aggregator_pb2.UsageRow(start_at=AT, end_at=AT, value=str(position))
            yield aggregator_pb2.WatchUsageResponse(rows=[row], position=position)
        if request.meter == "quiet":
            self.over.wait(60)

    def ListUsageEvents(self, request, _context):
        self.requests.append(request)
        event = aggregator_pb2.RecordedUsageEvent(
            id="1", source="s", value="2", recorded_value="1", state=aggregator_pb2.USAGE_STATE_AMENDED, time=AT
        )
        return aggregator_pb2.ListUsageEventsResponse(events=[event])

    def ListUnmatchedUsage(self, _request, _context):
        found = aggregator_pb2.UnmatchedUsage(type="api.cal", usage_event_count=3, first_at=AT, last_at=AT)
        return aggregator_pb2.ListUnmatchedUsageResponse(types=[found])


class Corrections(correction_pb2_grpc.CorrectionServiceServicer):
    def __init__(self):
        self.requests = []

    def PreviewCancellation(self, _request, _context):
        total = correction_pb2.TotalChange(meter="calls", subject="acme", old_value="3")
        return correction_pb2.PreviewCancellationResponse(
            usage_event_count=3, share_millionths=30_000, first_at=AT, last_at=AT, totals=[total], position=8
        )

    def CancelUsage(self, request, _context):
        self.requests.append(request)
        correction = correction_pb2.Correction(
            key=request.key, names=request.names, is_cancellation=True, usage_event_count=3, decision=DECISION
        )
        if request.HasField("filter"):
            correction.filter.CopyFrom(request.filter)
        return correction_pb2.CancelUsageResponse(correction=correction)

    def AmendUsage(self, request, _context):
        self.requests.append(request)
        correction = correction_pb2.Correction(key=request.key, names=[request.name], decision=DECISION)
        correction.value = request.value
        return correction_pb2.AmendUsageResponse(correction=correction)

    def OpenBackfill(self, request, _context):
        self.requests.append(request)
        state = correction_pb2.BACKFILL_STATE_OPEN
        return correction_pb2.OpenBackfillResponse(
            backfill=correction_pb2.Backfill(key=request.key, state=state, opened=DECISION)
        )

    def CloseBackfill(self, request, _context):
        self.requests.append(request)
        state = correction_pb2.BACKFILL_STATE_CLOSED
        return correction_pb2.CloseBackfillResponse(
            backfill=correction_pb2.Backfill(key=request.key, state=state, opened=DECISION, closed=DECISION)
        )


class Service:
    def __init__(self):
        self.aggregator, self.corrections = Aggregator(), Corrections()
        self.server = grpc.server(ThreadPoolExecutor(4))
        aggregator_pb2_grpc.add_AggregatorServiceServicer_to_server(self.aggregator, self.server)
        correction_pb2_grpc.add_CorrectionServiceServicer_to_server(self.corrections, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()


@pytest.fixture
def service():
    started = Service()
    yield started
    started.server.stop(None).wait(60)


@pytest.fixture
def meterlog(service):
    with Meterlog(aggregator=service.address) as client:
        yield client


def test_usage_comes_from_every_page_and_is_asked_with_every_option(service, meterlog):
    rows = meterlog.usage.query(
        *("calls", START, END),
        window="week",
        group_by=["subject"],
        filters=["model=a,b", "bytes>=100"],
        top=5,
        as_of=77,
        time_zone="Asia/Kathmandu",
    )
    assert [row.value for row in rows] == [Decimal(0), Decimal(1), Decimal(2)]
    first = service.aggregator.requests[0]
    assert (first.top, first.as_of, first.window) == (5, 77, aggregator_pb2.WINDOW_WEEK)
    assert [each.operator for each in first.filters] == [
        aggregator_pb2.CONDITION_OPERATOR_IN,
        aggregator_pb2.CONDITION_OPERATOR_GREATER_OR_EQUAL,
    ]
    assert [each.page_token for each in service.aggregator.requests] == ["", "1", "2"]


def test_totals_are_exact_and_of_one_position(meterlog):
    found = meterlog.usage.totals("acme", ["calls", "peak"], START, END)
    assert (dict(found.totals), found.position) == ({"calls": Decimal("1.5"), "peak": None}, 7)


def test_a_service_that_starts_is_asked_again_and_one_that_stays_away_is_not_for_ever(service, meterlog):
    service.aggregator.down = 2
    assert meterlog.usage.totals("acme", ["calls"], START, END).position == 7
    service.aggregator.down = 3
    with pytest.raises(CallFailed, match="UNAVAILABLE"):
        meterlog.usage.totals("acme", ["calls"], START, END)


def test_a_watch_tells_what_changes_until_it_ends(meterlog):
    assert [(each.position, each.rows[0].value) for each in meterlog.usage.watch("calls", START, END)] == [
        (0, Decimal(0)),
        (1, Decimal(1)),
        (2, Decimal(2)),
    ]


def test_a_watch_ends_quietly_when_its_time_is_over(service, meterlog):
    def watch(deadline_s):
        count = len(list(meterlog.usage.watch("quiet", START, END, timeout_s=deadline_s)))
        in_time(count >= 3)
        assert count == 3

    patiently(watch)
    service.aggregator.over.set()


def test_usage_events_say_what_counts_and_what_was_recorded(service, meterlog):
    [event] = meterlog.usage.events(subject="acme", state="amended", conditions=["region"], start_at=START)
    assert (event.value, event.recorded_value, event.state, event.time) == (Decimal(2), Decimal(1), "amended", START)
    assert service.aggregator.requests[0].state == aggregator_pb2.USAGE_STATE_AMENDED
    [unmatched] = meterlog.usage.unmatched()
    assert (unmatched.type, unmatched.usage_event_count) == ("api.cal", 3)
    with pytest.raises(WrongValue, match="counted, amended, cancelled, held"):
        meterlog.usage.events(state="gone")


def test_a_cancellation_by_filter_repeats_what_its_preview_counted(service, meterlog):
    chosen = UsageFilter(meter="calls", start_at=START, conditions=("model=large",))
    preview = meterlog.corrections.preview(chosen)
    assert (preview.usage_event_count, preview.totals[0].old_value, preview.totals[0].new_value) == (
        3,
        Decimal(3),
        None,
    )
    done = meterlog.corrections.cancel("oops", chosen, reason="test calls", expected=preview)
    request = service.corrections.requests[0]
    assert (request.expected_count, request.until_position, request.reason) == (3, 8, "test calls")
    assert (done.is_cancellation, done.filter.start_at, done.decision.decided_by) == (True, START, "ann")
    assert done.filter.conditions[0].values == ("large",)
    assert done.reverted is None


def test_a_filter_is_not_cancelled_without_a_preview_that_found_something(service, meterlog):
    with pytest.raises(WrongValue, match="needs the preview that was looked at"):
        meterlog.corrections.cancel("oops", UsageFilter(meter="calls"), reason="test calls")
    assert service.corrections.requests == []


def test_an_amendment_is_exact(service, meterlog):
    name = UsageName("gateway", "call-1", 5)
    amended = meterlog.corrections.amend("fix", name, reason="typo", value=Decimal("0.1"), properties={"size": 7})
    request = service.corrections.requests[0]
    assert (request.value, dict(request.properties.properties), request.name.position) == ("0.1", {"size": "7"}, 5)
    assert amended.value == Decimal("0.1")
    with pytest.raises(WrongType, match="float"):
        meterlog.corrections.amend("fix", name, reason="typo", value=0.1)
    with pytest.raises(WrongValue, match="needs a value or properties"):
        meterlog.corrections.amend("fix", name, reason="typo")


def test_a_backfill_is_closed_when_its_block_ends_and_stays_open_when_it_fails(service, meterlog):
    with meterlog.corrections.backfill("january", reason="lost a disk") as backfill:
        assert backfill.state == "open"
    assert [type(each).__name__ for each in service.corrections.requests] == [
        "OpenBackfillRequest",
        "CloseBackfillRequest",
    ]
    with pytest.raises(RuntimeError), meterlog.corrections.backfill("february", reason="lost a disk"):
        raise RuntimeError("the disk again")
    assert [type(each).__name__ for each in service.corrections.requests][2:] == ["OpenBackfillRequest"]


def test_the_asyncio_client_reads_watches_and_corrects_the_same(service):
    async def use():
        async with AsyncMeterlog(aggregator=service.address) as client:
            rows = await client.usage.query("calls", START, END)
            changes = [change async for change in client.usage.watch("calls", START, END)]
            events = [event async for event in client.usage.events(meter="calls")]
            preview = await client.corrections.preview([UsageName("gateway", "call-1")])
            async with client.corrections.backfill("january", reason="lost a disk"):
                pass
            return len(rows), len(changes), len(events), preview.position

    assert asyncio.run(use()) == (3, 3, 1, 8)
    assert type(service.corrections.requests[-1]).__name__ == "CloseBackfillRequest"
