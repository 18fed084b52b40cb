"""One batch on its way: sent, sent again while that may help, and answered, from a thread or an event loop."""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import grpc

from meterlog.client.clock import monotonic_s
from meterlog.client.cloud_event import CloudEventBatch
from meterlog.client.failure import Failure, failure_of
from meterlog.client.log import log_given_up, log_retry
from meterlog.client.result import UsageResult, results_of, undelivered
from meterlog.client.retry import RetryPolicy
from meterlog.ingest.v1.ingest_pb2 import (
    RecordUsageColumnsRequest,
    RecordUsageColumnsResponse,
    RecordUsageRequest,
    UsageEvent,
)
from meterlog.ingest.v1.ingest_pb2_grpc import IngestServiceStub

if TYPE_CHECKING:
    from meterlog.ingest.v1.ingest_pb2_grpc import IngestServiceAsyncStub

Metadata = tuple[tuple[str, str], ...]

R = TypeVar("R")


class BatchSender:
    """Sends batches over one channel; may be used by many threads at once."""

    def __init__(self, channel: grpc.Channel, metadata: Metadata, retry: RetryPolicy, backfill: str = "") -> None:
        self._record = IngestServiceStub(channel).RecordUsage
        self._metadata = metadata
        self._retry = retry
        self._backfill = backfill

    def send(
        self, events: Sequence[UsageEvent], stopping: threading.Event, *, atomic: bool = False
    ) -> tuple[UsageResult, ...]:
        """What became of each event; all undelivered when given up, or when `stopping` is set between two tries."""
        request = RecordUsageRequest(events=events, atomic=atomic, backfill=self._backfill)

        def record(timeout_s: float) -> tuple[UsageResult, ...]:
            return results_of(events, self._record(request, timeout=timeout_s, metadata=self._metadata))

        answer = _answered(record, self._retry, len(events), stopping)
        return undelivered(events, answer) if isinstance(answer, Failure) else answer


class ColumnSender:
    """Sends usage events in columns over one channel; may be used by many threads at once."""

    def __init__(self, channel: grpc.Channel, metadata: Metadata, retry: RetryPolicy, backfill: str = "") -> None:
        self._record = IngestServiceStub(channel).RecordUsageColumns
        self._metadata = metadata
        self._retry = retry
        self._backfill = backfill

    def send(
        self, arrow_ipc: bytes, rows: int, stopping: threading.Event, *, atomic: bool = False
    ) -> RecordUsageColumnsResponse | Failure:
        """The answer, or why it was given up; also when `stopping` is set between two tries."""
        request = RecordUsageColumnsRequest(arrow_ipc=arrow_ipc, atomic=atomic, backfill=self._backfill)

        def record(timeout_s: float) -> RecordUsageColumnsResponse:
            return self._record(request, timeout=timeout_s, metadata=self._metadata)

        return _answered(record, self._retry, rows, stopping)


class CloudEventSender:
    """Sends CloudEvents over one channel; may be used by many threads at once."""

    def __init__(self, channel: grpc.Channel, metadata: Metadata, retry: RetryPolicy, backfill: str = "") -> None:
        self._record = IngestServiceStub(channel).RecordCloudEvents
        self._metadata = metadata
        self._retry = retry
        self._backfill = backfill

    def send(
        self, batch: CloudEventBatch, stopping: threading.Event, *, atomic: bool = False
    ) -> tuple[UsageResult, ...]:
        """As `BatchSender.send`."""
        request = batch.request(atomic=atomic, backfill=self._backfill)

        def record(timeout_s: float) -> tuple[UsageResult, ...]:
            return results_of(batch.names, self._record(request, timeout=timeout_s, metadata=self._metadata))

        answer = _answered(record, self._retry, len(batch.names), stopping)
        return undelivered(batch.names, answer) if isinstance(answer, Failure) else answer


class AsyncBatchSender:
    """Sends batches over one channel from its event loop."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata, retry: RetryPolicy, backfill: str = "") -> None:
        stub: IngestServiceAsyncStub = IngestServiceStub(channel)
        self._record = stub.RecordUsage
        self._record_columns = stub.RecordUsageColumns
        self._record_cloud_events = stub.RecordCloudEvents
        self._metadata = grpc.aio.Metadata(*metadata)
        self._retry = retry
        self._backfill = backfill

    async def send(self, events: Sequence[UsageEvent], *, atomic: bool = False) -> tuple[UsageResult, ...]:
        """What became of each event; all undelivered when given up."""
        request = RecordUsageRequest(events=events, atomic=atomic, backfill=self._backfill)

        async def record(timeout_s: float) -> tuple[UsageResult, ...]:
            return results_of(events, await self._record(request, timeout=timeout_s, metadata=self._metadata))

        answer = await _awaited(record, self._retry, len(events))
        return undelivered(events, answer) if isinstance(answer, Failure) else answer

    async def send_columns(
        self, arrow_ipc: bytes, rows: int, *, atomic: bool = False
    ) -> RecordUsageColumnsResponse | Failure:
        """The answer, or why it was given up."""
        request = RecordUsageColumnsRequest(arrow_ipc=arrow_ipc, atomic=atomic, backfill=self._backfill)

        async def record(timeout_s: float) -> RecordUsageColumnsResponse:
            return await self._record_columns(request, timeout=timeout_s, metadata=self._metadata)

        return await _awaited(record, self._retry, rows)

    async def send_cloud_events(self, batch: CloudEventBatch, *, atomic: bool = False) -> tuple[UsageResult, ...]:
        """As `send`."""
        request = batch.request(atomic=atomic, backfill=self._backfill)

        async def record(timeout_s: float) -> tuple[UsageResult, ...]:
            answer = await self._record_cloud_events(request, timeout=timeout_s, metadata=self._metadata)
            return results_of(batch.names, answer)

        answer = await _awaited(record, self._retry, len(batch.names))
        return undelivered(batch.names, answer) if isinstance(answer, Failure) else answer


class Tries:
    """Counts the tries of one batch and asks the policy for the next."""

    def __init__(self, retry: RetryPolicy, event_count: int) -> None:
        self._retry = retry
        self._event_count = event_count
        self._started_at_s = monotonic_s()
        self._count = 0

    def delay_after_s(self, failure: Failure) -> float | None:
        """Seconds to wait before the next try, None to give up; either is told in the log."""
        self._count += 1
        elapsed_s = monotonic_s() - self._started_at_s
        fraction = random.random()  # noqa: S311 - jitter is no secret
        delay_s = self._retry.delay_s(failure.status, self._count, elapsed_s, fraction)
        if delay_s is None:
            log_given_up(self._event_count, self._count, failure)
        elif self._count == 1:
            log_retry(self._event_count, failure)
        return delay_s


def _answered(
    record: Callable[[float], R], retry: RetryPolicy, event_count: int, stopping: threading.Event
) -> R | Failure:
    tries = Tries(retry, event_count)
    while True:
        try:
            return record(retry.call_timeout_s)
        except grpc.RpcError as error:
            failure = failure_of(error)
        delay_s = None if stopping.is_set() else tries.delay_after_s(failure)
        if delay_s is None or stopping.wait(delay_s):
            return failure


async def _awaited(record: Callable[[float], Awaitable[R]], retry: RetryPolicy, event_count: int) -> R | Failure:
    tries = Tries(retry, event_count)
    while True:
        try:
            return await record(retry.call_timeout_s)
        except grpc.aio.AioRpcError as error:
            failure = failure_of(error)
        delay_s = tries.delay_after_s(failure)
        if delay_s is None:
            return failure
        await asyncio.sleep(delay_s)
