"""Meterlog's client: send usage in the background or in bulk, read it, correct it, read invoices.

    from datetime import UTC, datetime
    from meterlog.client import Meterlog

    with Meterlog("127.0.0.1:7401") as meterlog:
        answer = meterlog.record(
            id="request-4711", source="gateway", type="llm.completion", subject="tenant-0",
            time=datetime(2026, 1, 31, 12, 30, tzinfo=UTC), properties={"input_tokens": 374, "output_tokens": 44},
        )
        print(answer.result().outcome)

A usage event is known by its source and id, for ever: recording it again with both the same never counts twice, so
whoever chooses them (and the time, which is now when left out) may repeat after any crash. Left to the client, they are
new ones and cover its own retries only.
"""

from meterlog.client.async_client import AsyncMeterlog
from meterlog.client.backfill import Backfill
from meterlog.client.channel import Tls
from meterlog.client.cloud_event import CloudEvents
from meterlog.client.columns import ColumnsResult, RowException
from meterlog.client.condition import Condition, parse_condition
from meterlog.client.correction import CancellationPreview, Correction, Decision, TotalChange, UsageFilter, UsageName
from meterlog.client.counting import Counting, CountingState
from meterlog.client.errors import (
    CallFailed,
    ClientClosed,
    FlushTimedOut,
    MeterlogError,
    NotRecorded,
    QueueFull,
    UsedAfterFork,
    WrongType,
    WrongValue,
)
from meterlog.client.event import Number
from meterlog.client.failure import Failure
from meterlog.client.identity import process_source
from meterlog.client.invoice import Invoice, LineItem
from meterlog.client.meter import Meter, MeterChange, MeterPreview
from meterlog.client.outbox import Counters
from meterlog.client.period import ClosedPeriod, Closing, PeriodUsage, RestatedTotal, Restatement
from meterlog.client.result import UsageOutcome, UsageResult
from meterlog.client.retry import RetryPolicy
from meterlog.client.sending import Sending, WhenFull
from meterlog.client.storage import CheckRecord, Compaction, UsageArchive, UsageCheck, UsageDifference
from meterlog.client.sync_client import Meterlog
from meterlog.client.usage import RecordedUsage, UnmatchedUsage, UsageChange, UsageRow, UsageTotals
from meterlog.client.usage_report import UsageReport, UsageReportRow
from meterlog.ingest.v1.ingest_pb2 import UsageEvent

__all__ = [
    "AsyncMeterlog",
    "Backfill",
    "CallFailed",
    "CancellationPreview",
    "CheckRecord",
    "ClientClosed",
    "ClosedPeriod",
    "Closing",
    "CloudEvents",
    "ColumnsResult",
    "Compaction",
    "Condition",
    "Correction",
    "Counters",
    "Counting",
    "CountingState",
    "Decision",
    "Failure",
    "FlushTimedOut",
    "Invoice",
    "LineItem",
    "Meter",
    "MeterChange",
    "MeterPreview",
    "Meterlog",
    "MeterlogError",
    "NotRecorded",
    "Number",
    "PeriodUsage",
    "QueueFull",
    "RecordedUsage",
    "RestatedTotal",
    "Restatement",
    "RetryPolicy",
    "RowException",
    "Sending",
    "Tls",
    "TotalChange",
    "UnmatchedUsage",
    "UsageArchive",
    "UsageChange",
    "UsageCheck",
    "UsageDifference",
    "UsageEvent",
    "UsageFilter",
    "UsageName",
    "UsageOutcome",
    "UsageReport",
    "UsageReportRow",
    "UsageResult",
    "UsageRow",
    "UsageTotals",
    "UsedAfterFork",
    "WhenFull",
    "WrongType",
    "WrongValue",
    "parse_condition",
    "process_source",
]
