"""The client for programs with an event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

import grpc

from meterlog.client.asking import AsyncAsking
from meterlog.client.async_background import AsyncBackground
from meterlog.client.async_corrections import AsyncCorrections
from meterlog.client.async_meters import AsyncMeters
from meterlog.client.async_periods import AsyncPeriods
from meterlog.client.async_streaming import AsyncBatches, AsyncStreamSender
from meterlog.client.async_usage_reader import AsyncUsageReader
from meterlog.client.async_usage_storage import AsyncUsageStorage
from meterlog.client.channel import Channels, Tls, connection, open_async_channel
from meterlog.client.cloud_event import CloudEvents, cloud_event_batch
from meterlog.client.columns import ColumnsResult, encoded_requests
from meterlog.client.delivery import AsyncBatchSender
from meterlog.client.errors import CallFailed
from meterlog.client.event import Number
from meterlog.client.failure import Failure
from meterlog.client.invoice import Invoice, invoices
from meterlog.client.outbox import Counters
from meterlog.client.producer import Producer
from meterlog.client.result import UsageResult
from meterlog.client.sending import Sending
from meterlog.client.stream import BATCHES_IN_FLIGHT, StreamWindow
from meterlog.client.usage_reader import READ_TIMEOUT_S
from meterlog.ingest.v1.ingest_pb2 import UsageEvent


class AsyncMeterlog:
    """Records usage, in the background of one event loop or in bulk, reads and corrects it.

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
        self._asking = AsyncAsking(self._connection, self._channels)

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

    def event(
        self,
        *,
        type: str,  # noqa: A002 - as above
        subject: str,
        id: str | None = None,  # noqa: A002 - as above
        source: str | None = None,
        time: datetime | None = None,
        value: Number | None = None,
        properties: Mapping[str, Number] | None = None,
    ) -> UsageEvent:
        """A usage event for `record_batch` and `record_stream`, filled in and checked as by `record`."""
        return self._producer.event(id, source, type, subject, time, value, properties)

    async def record_batch(
        self, events: Sequence[UsageEvent], *, atomic: bool = False, backfill: str = ""
    ) -> tuple[UsageResult, ...]:
        """Record 1 to 10,000 usage events in one request and wait; with `atomic` all that are new, or none.

        Retried while that may help: a repeat never counts twice. `backfill` is the key of an open one.
        """
        channel = self._channels.get(self._connection.ingest)
        sender = AsyncBatchSender(channel, self._connection.metadata, self._sending.retry, backfill)
        return await sender.send(events, atomic=atomic)

    def record_stream(
        self, batches: AsyncBatches, *, atomic: bool = False, backfill: str = ""
    ) -> AsyncIterator[tuple[UsageResult, ...]]:
        """Record batches over one connection; yields what became of each, in their order.

        It reads a few batches ahead. A broken connection is opened again, and what had no answer is sent again.
        """
        channel = self._channels.get(self._connection.ingest)
        sender = AsyncStreamSender(channel, self._connection.metadata, self._sending.retry)
        return sender.send(batches, StreamWindow(BATCHES_IN_FLIGHT, atomic, backfill))

    async def record_columns(self, columns: object, *, atomic: bool = False, backfill: str = "") -> ColumnsResult:
        """Record usage events in columns, for bulk; needs pyarrow. See `RecordUsageColumns` for what columns there are.

        `columns` is a pyarrow Table, RecordBatch, RecordBatchReader or an iterable of record batches, of any size
        unless `atomic`. Raises CallFailed when a request is given up; doing the whole again counts nothing twice.
        """
        channel = self._channels.get(self._connection.ingest)
        sender = AsyncBatchSender(channel, self._connection.metadata, self._sending.retry, backfill)
        result = ColumnsResult()
        for arrow_ipc, rows in encoded_requests(columns, in_one=atomic):
            answer = await sender.send_columns(arrow_ipc, rows, atomic=atomic)
            if isinstance(answer, Failure):
                raise CallFailed(answer)
            result = result.after(answer)
        return result

    async def record_cloud_events(
        self, events: CloudEvents, *, atomic: bool = False, backfill: str = ""
    ) -> tuple[UsageResult, ...]:
        """Record 1 to 10,000 CloudEvents in one request and wait; retried and answered as `record_batch`.

        `events` are JSON text (a batch, or one), mappings with the members of the JSON format, or protobuf messages.
        Raises WrongType or WrongValue for what cannot be sent.
        """
        channel = self._channels.get(self._connection.ingest)
        sender = AsyncBatchSender(channel, self._connection.metadata, self._sending.retry, backfill)
        return await sender.send_cloud_events(cloud_event_batch(events), atomic=atomic)

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

    @property
    def usage(self) -> AsyncUsageReader:
        """Usage: query, watch, totals, the usage events behind them, and what was refused."""
        return AsyncUsageReader(self._asking)

    @property
    def corrections(self) -> AsyncCorrections:
        """Corrections of recorded usage, and backfills."""
        return AsyncCorrections(self._asking)

    @property
    def meters(self) -> AsyncMeters:
        """Meters: create, preview, redefine, update, archive and list them."""
        return AsyncMeters(self._asking)

    @property
    def periods(self) -> AsyncPeriods:
        """Usage by period: running totals, what was closed and restated."""
        return AsyncPeriods(self._asking)

    @property
    def storage(self) -> AsyncUsageStorage:
        """The archive of usage, and checks of usage against the log."""
        return AsyncUsageStorage(self._asking)

    def list_invoices(
        self, customer: str = "", *, state: str = "any", timeout_s: float = READ_TIMEOUT_S
    ) -> AsyncIterator[Invoice]:
        """Invoices by period, customer and id, fetched page by page; state is any, draft or finalized.

        Raises CallFailed. `timeout_s` is that of one page.
        """
        return self._asking.every(invoices(customer, state), timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

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
