"""One batch on its way: sent, sent again while that may help, and answered, from a thread or an event loop."""

import asyncio
import random
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc

from meterlog.client.clock import monotonic_s
from meterlog.client.failure import Failure, failure_of
from meterlog.client.log import log_given_up, log_retry
from meterlog.client.result import UsageResult, results_of, undelivered
from meterlog.client.retry import RetryPolicy
from meterlog.ingest.v1.ingest_pb2 import RecordUsageRequest, UsageEvent
from meterlog.ingest.v1.ingest_pb2_grpc import IngestServiceStub

if TYPE_CHECKING:
    from meterlog.ingest.v1.ingest_pb2_grpc import IngestServiceAsyncStub

Metadata = tuple[tuple[str, str], ...]


class BatchSender:
    """Sends batches over one channel; may be used by many threads at once."""

    def __init__(self, channel: grpc.Channel, metadata: Metadata, retry: RetryPolicy) -> None:
        self._record = IngestServiceStub(channel).RecordUsage
        self._metadata = metadata
        self._retry = retry

    def send(self, events: Sequence[UsageEvent], stopping: threading.Event) -> tuple[UsageResult, ...]:
        """What became of each event; all undelivered when given up, or when `stopping` is set between two tries."""
        request = RecordUsageRequest(events=events)
        tries = _Tries(self._retry)
        while True:
            try:
                response = self._record(request, timeout=self._retry.call_timeout_s, metadata=self._metadata)
            except grpc.RpcError as error:
                failure = failure_of(error)
            else:
                return results_of(events, response)
            delay_s = None if stopping.is_set() else tries.delay_after_s(failure, len(events))
            if delay_s is None or stopping.wait(delay_s):
                return undelivered(events, failure)


class AsyncBatchSender:
    """Sends batches over one channel from its event loop."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata, retry: RetryPolicy) -> None:
        stub: IngestServiceAsyncStub = IngestServiceStub(channel)
        self._record = stub.RecordUsage
        self._metadata = grpc.aio.Metadata(*metadata)
        self._retry = retry

    async def send(self, events: Sequence[UsageEvent]) -> tuple[UsageResult, ...]:
        """What became of each event; all undelivered when given up."""
        request = RecordUsageRequest(events=events)
        tries = _Tries(self._retry)
        while True:
            try:
                response = await self._record(request, timeout=self._retry.call_timeout_s, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                failure = failure_of(error)
            else:
                return results_of(events, response)
            delay_s = tries.delay_after_s(failure, len(events))
            if delay_s is None:
                return undelivered(events, failure)
            await asyncio.sleep(delay_s)


class _Tries:
    """Counts the tries of one batch and asks the policy for the next."""

    def __init__(self, retry: RetryPolicy) -> None:
        self._retry = retry
        self._started_at_s = monotonic_s()
        self._count = 0

    def delay_after_s(self, failure: Failure, event_count: int) -> float | None:
        self._count += 1
        elapsed_s = monotonic_s() - self._started_at_s
        fraction = random.random()  # noqa: S311 - jitter is no secret
        delay_s = self._retry.delay_s(failure.status, self._count, elapsed_s, fraction)
        if delay_s is None:
            log_given_up(event_count, self._count, failure)
        elif self._count == 1:
            log_retry(event_count, failure)
        return delay_s
