"""Meterlog's client: send usage in the background, read usage and invoices.

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
from meterlog.client.channel import Tls
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
from meterlog.client.outbox import Counters
from meterlog.client.reading import Invoice, LineItem, UsageRow
from meterlog.client.result import UsageOutcome, UsageResult
from meterlog.client.retry import RetryPolicy
from meterlog.client.sending import Sending, WhenFull
from meterlog.client.sync_client import Meterlog

__all__ = [
    "AsyncMeterlog",
    "CallFailed",
    "ClientClosed",
    "Counters",
    "Failure",
    "FlushTimedOut",
    "Invoice",
    "LineItem",
    "Meterlog",
    "MeterlogError",
    "NotRecorded",
    "Number",
    "QueueFull",
    "RetryPolicy",
    "Sending",
    "Tls",
    "UsageOutcome",
    "UsageResult",
    "UsageRow",
    "UsedAfterFork",
    "WhenFull",
    "WrongType",
    "WrongValue",
    "process_source",
]
