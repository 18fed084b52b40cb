"""A stream of batches from an event loop: sent over one connection, and over another one when that fails."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING

import grpc

from meterlog.client.delivery import Metadata, Tries
from meterlog.client.failure import Failure, failure_of
from meterlog.client.result import UsageResult
from meterlog.client.retry import RetryPolicy
from meterlog.client.stream import StreamWindow
from meterlog.client.streaming import NO_ANSWER, STREAM_ENDED
from meterlog.ingest.v1.ingest_pb2 import RecordUsageStreamRequest, RecordUsageStreamResponse, UsageEvent
from meterlog.ingest.v1.ingest_pb2_grpc import IngestServiceStub

if TYPE_CHECKING:
    from meterlog.ingest.v1.ingest_pb2_grpc import IngestServiceAsyncStub

_BROKEN_LOCALLY = "Internal error from Core"
"""What grpc.aio says instead of the status when a call ends while one of its requests is being written."""

AsyncBatches = Iterable[Sequence[UsageEvent]] | AsyncIterable[Sequence[UsageEvent]]


class AsyncStreamSender:
    """Sends batches in order over one channel; its results come in the order of the batches."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata, retry: RetryPolicy) -> None:
        self._stub: IngestServiceAsyncStub = IngestServiceStub(channel)
        self._metadata = grpc.aio.Metadata(*metadata)
        self._retry = retry

    async def send(self, batches: AsyncBatches, window: StreamWindow) -> AsyncIterator[tuple[UsageResult, ...]]:
        """The results of each batch, read no further ahead than the window; one that is given up is undelivered."""
        source = _asynchronous(batches)
        is_more = True
        connection = _Connection(self._stub, self._metadata)
        tries: Tries | None = None
        try:
            while True:
                while is_more and window.has_room:
                    batch = await anext(source, None)
                    is_more = batch is not None
                    if batch is not None:
                        connection.put(window.add(batch))
                if not window.is_waiting:
                    for ready in window.take_ready():
                        yield ready
                    if not is_more:
                        return
                    continue
                failure = await connection.answer_into(window, self._retry.call_timeout_s)
                if failure is None:
                    tries = None
                else:
                    tries = tries or Tries(self._retry, window.unanswered_count)
                    connection.close()
                    connection = await self._again(window, tries, failure)
                for ready in window.take_ready():
                    yield ready
        finally:
            connection.close()

    async def _again(self, window: StreamWindow, tries: Tries, failure: Failure) -> "_Connection":
        delay_s = tries.delay_after_s(failure)
        if delay_s is None:
            window.give_up(failure)
        else:
            await asyncio.sleep(delay_s)
        connection = _Connection(self._stub, self._metadata)
        for request in window.unanswered():
            connection.put(request)
        return connection


class _Connection:
    """One call; opened with the first request. gRPC writes what is put into the queue while answers are awaited."""

    def __init__(self, stub: "IngestServiceAsyncStub", metadata: grpc.aio.Metadata) -> None:
        self._stub = stub
        self._metadata = metadata
        self._outgoing: asyncio.Queue[RecordUsageStreamRequest | None] = asyncio.Queue()
        self._call: grpc.aio.StreamStreamCall[RecordUsageStreamRequest, RecordUsageStreamResponse] | None = None

    def put(self, request: RecordUsageStreamRequest) -> None:
        self._outgoing.put_nowait(request)
        if self._call is None:
            self._call = self._stub.RecordUsageStream(self._requests(), metadata=self._metadata)

    async def answer_into(self, window: StreamWindow, timeout_s: float) -> Failure | None:
        """Take one answer into the window; why another connection is needed, if one is."""
        assert self._call is not None, "somebody waits only for what was put"
        try:
            answer = await asyncio.wait_for(self._call.read(), timeout_s)
        except TimeoutError:
            return NO_ANSWER
        except grpc.aio.AioRpcError as error:
            failure = failure_of(error)
            return STREAM_ENDED if failure.message == _BROKEN_LOCALLY else failure
        return window.answer(answer) if isinstance(answer, RecordUsageStreamResponse) else STREAM_ENDED

    def close(self) -> None:
        self._outgoing.put_nowait(None)
        if self._call is not None:
            self._call.cancel()

    async def _requests(self) -> AsyncIterator[RecordUsageStreamRequest]:
        while (request := await self._outgoing.get()) is not None:
            yield request


async def _asynchronous(batches: AsyncBatches) -> AsyncIterator[Sequence[UsageEvent]]:
    if isinstance(batches, AsyncIterable):
        async for batch in batches:
            yield batch
    else:
        for batch in batches:
            yield batch
