"""The client for programs with an event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from meterlog.aggregator.v1.aggregator_pb2_grpc import AggregatorServiceStub
from meterlog.client.async_background import AsyncBackground
from meterlog.client.channel import Channels, Tls, connection, open_async_channel
from meterlog.client.errors import CallFailed
from meterlog.client.event import Number
from meterlog.client.failure import failure_of
from meterlog.client.outbox import Counters
from meterlog.client.producer import Producer
from meterlog.client.reading import (
    READ_TIMEOUT_S,
    Invoice,
    UsageRow,
    invoice_of,
    invoices_request,
    usage_request,
    usage_rows_of,
)
from meterlog.client.result import UsageResult
from meterlog.client.sending import Sending
from meterlog.rating.v1.rating_pb2_grpc import RatingServiceStub

if TYPE_CHECKING:
    from meterlog.aggregator.v1.aggregator_pb2_grpc import AggregatorServiceAsyncStub
    from meterlog.rating.v1.rating_pb2_grpc import RatingServiceAsyncStub


class AsyncMeterlog:
    """Records usage in the background of one event loop and reads usage and invoices.

    Use it as an asynchronous context manager or await `close`. What a loop leaves unsent when it ends is sent when the
    interpreter exits; that is a safety net, as its futures can tell nobody any more. The first call binds the client to
    its loop and process.

    `source` defaults to one of this process alone (see `process_source`), `api_key` to METERLOG_API_KEY. `on_result`
    is called with every result in the loop.
    """

    def __init__(
        self,
        ingest: str = "127.0.0.1:7401",
        *,
        aggregator: str = "127.0.0.1:7402",
        rating: str = "127.0.0.1:7403",
        api_key: str | None = None,
        tls: Tls | None = None,
        source: str | None = None,
        on_result: Callable[[UsageResult], None] | None = None,
        sending: Sending | None = None,
    ) -> None:
        self._sending = sending or Sending()
        self._connection = connection(ingest, aggregator, rating, api_key, tls)
        self._producer = Producer(source)
        self._on_result = on_result
        self._background = AsyncBackground(self._connection, self._sending)
        self._channels: Channels[grpc.aio.Channel] = Channels(open_async_channel, tls)

    async def record(
        self,
        *,
        type: str,  # noqa: A002 - the attribute's name in CloudEvents and in the contract
        subject: str,
        id: str | None = None,  # noqa: A002 - as above
        source: str | None = None,
        time: datetime | None = None,
        value: Number | None = None,
        properties: Mapping[str, Number] | None = None,
    ) -> "asyncio.Future[UsageResult]":
        """Queue one usage event, waiting for room; await the future to learn what became of it.

        Left out, `id` is new, `source` the client's, `time` now and `value` 1. Raises WrongType or WrongValue for
        arguments that cannot be sent, QueueFull, ClientClosed, UsedAfterFork. Cancelling the future, or waiting for it
        with a time limit, does not take the usage event back.
        """
        event = self._producer.event(id, source, type, subject, time, value, properties)
        future: asyncio.Future[UsageResult] = asyncio.get_running_loop().create_future()
        await self._background.put(event, lambda result: self._answer(future, result))
        return future

    async def flush(self, timeout_s: float | None = None) -> None:
        """Send what is queued without lingering and wait until it is answered; raises FlushTimedOut.

        The default time is `close_timeout_s`. Usage events that are recorded meanwhile are not waited for.
        """
        await self._background.flush(self._sending.close_timeout_s if timeout_s is None else timeout_s)

    async def close(self, timeout_s: float | None = None) -> None:
        """Flush, then stop; what has no answer by then is undelivered. Safe to repeat."""
        await self._background.close(self._sending.close_timeout_s if timeout_s is None else timeout_s)
        for channel in self._channels.take_all():
            await channel.close()

    @property
    def counters(self) -> Counters:
        """How many usage events were taken, and what became of them."""
        return self._background.counters

    @property
    def source(self) -> str:
        """The source of usage events that name none."""
        return self._producer.source

    async def query_usage(
        self,
        meter: str,
        start_at: datetime,
        end_at: datetime,
        *,
        subjects: Sequence[str] = (),
        window: str = "none",
        time_zone: str = "UTC",
        group_by: Sequence[str] = (),
        min_position: int = 0,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> tuple[UsageRow, ...]:
        """Usage of one meter in [start_at, end_at); window is none, hour, day or month. Raises CallFailed.

        A result's `position` as `min_position` makes the answer cover that usage event.
        """
        request = usage_request(meter, start_at, end_at, subjects, window, time_zone, group_by, min_position)
        stub: AggregatorServiceAsyncStub = AggregatorServiceStub(self._channels.get(self._connection.aggregator))
        try:
            response = await stub.QueryUsage(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise CallFailed(failure_of(error)) from error
        return usage_rows_of(response)

    async def list_invoices(
        self, customer: str = "", *, state: str = "any", timeout_s: float = READ_TIMEOUT_S
    ) -> AsyncIterator[Invoice]:
        """Invoices by period, customer and id, fetched page by page; state is any, draft or finalized.

        Raises CallFailed. `timeout_s` is that of one page.
        """
        request = invoices_request(customer, state)
        stub: RatingServiceAsyncStub = RatingServiceStub(self._channels.get(self._connection.rating))
        while True:
            try:
                response = await stub.ListInvoices(request, timeout=timeout_s, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                raise CallFailed(failure_of(error)) from error
            for invoice in response.invoices:
                yield invoice_of(invoice)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata(*self._connection.metadata)

    def _answer(self, future: "asyncio.Future[UsageResult]", result: UsageResult) -> None:
        loop = future.get_loop()
        if loop.is_closed():
            if self._on_result is not None:
                self._on_result(result)
            return
        if not future.done():
            future.set_result(result)
        if self._on_result is not None:
            loop.call_soon(self._on_result, result)
