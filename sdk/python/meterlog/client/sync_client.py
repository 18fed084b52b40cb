"""The client for programs with threads."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from types import TracebackType
from typing import Self

import grpc

from meterlog.client.asking import Asking
from meterlog.client.background import Background
from meterlog.client.channel import Channels, Tls, connection, open_channel
from meterlog.client.cloud_event import CloudEvents, cloud_event_batch
from meterlog.client.columns import ColumnsResult, encoded_requests
from meterlog.client.corrections import Corrections
from meterlog.client.delivery import BatchSender, CloudEventSender, ColumnSender
from meterlog.client.errors import CallFailed
from meterlog.client.event import Number
from meterlog.client.failure import Failure
from meterlog.client.invoice import Invoice, invoices
from meterlog.client.meters import Meters
from meterlog.client.outbox import Counters
from meterlog.client.periods import Periods
from meterlog.client.producer import Producer
from meterlog.client.result import UsageResult
from meterlog.client.sending import Sending
from meterlog.client.stream import BATCHES_IN_FLIGHT, StreamWindow
from meterlog.client.streaming import StreamSender
from meterlog.client.usage_reader import READ_TIMEOUT_S, UsageReader
from meterlog.client.usage_storage import UsageStorage
from meterlog.ingest.v1.ingest_pb2 import UsageEvent


class Meterlog:
    """Records usage, in the background or in bulk, reads and corrects it; safe to share among threads.

    Use it as a context manager or call `close`; what is still queued when the interpreter exits is flushed then.
    Nothing is opened or started before the first call, so a client that was created, but not used, may be taken
    through a fork. Once used it belongs to its process: in a child it raises UsedAfterFork, and what was queued is
    sent by the parent alone.

    `source` defaults to one of this process alone (see `process_source`), `api_key` to METERLOG_API_KEY. `on_result`
    is called with every result from a thread of the client, so it should be quick.
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
        self._background = Background(self._connection, self._sending)
        self._channels: Channels[grpc.Channel] = Channels(open_channel, tls)
        self._asking = Asking(self._connection, self._channels)

    def record(
        self,
        *,
        type: str,  # noqa: A002 - the attribute's name in CloudEvents and in the contract
        subject: str,
        id: str | None = None,  # noqa: A002 - as above
        source: str | None = None,
        time: datetime | None = None,
        value: Number | None = None,
        properties: Mapping[str, Number] | None = None,
    ) -> "Future[UsageResult]":
        """Queue one usage event; the future tells what became of it, and itself neither fails nor is cancelled.

        Left out, `id` is new, `source` the client's, `time` now and `value` 1. Raises WrongType or WrongValue for
        arguments that cannot be sent, QueueFull, ClientClosed, UsedAfterFork.
        """
        event = self._producer.event(id, source, type, subject, time, value, properties)
        future: Future[UsageResult] = Future()
        future.set_running_or_notify_cancel()
        if (on_result := self._on_result) is not None:
            future.add_done_callback(lambda done: on_result(done.result()))
        self._background.put(event, future)
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

    def record_batch(
        self, events: Sequence[UsageEvent], *, atomic: bool = False, backfill: str = ""
    ) -> tuple[UsageResult, ...]:
        """Record 1 to 10,000 usage events in one request and wait; with `atomic` all that are new, or none.

        Retried while that may help: a repeat never counts twice. `backfill` is the key of an open one.
        """
        channel = self._channels.get(self._connection.ingest)
        sender = BatchSender(channel, self._connection.metadata, self._sending.retry, backfill)
        return sender.send(events, threading.Event(), atomic=atomic)

    def record_stream(
        self, batches: Iterable[Sequence[UsageEvent]], *, atomic: bool = False, backfill: str = ""
    ) -> Iterator[tuple[UsageResult, ...]]:
        """Record batches over one connection; yields what became of each, in their order.

        It reads a few batches ahead. A broken connection is opened again, and what had no answer is sent again.
        """
        channel = self._channels.get(self._connection.ingest)
        sender = StreamSender(channel, self._connection.metadata, self._sending.retry)
        return sender.send(batches, StreamWindow(BATCHES_IN_FLIGHT, atomic, backfill))

    def record_columns(self, columns: object, *, atomic: bool = False, backfill: str = "") -> ColumnsResult:
        """Record usage events in columns, for bulk; needs pyarrow. See `RecordUsageColumns` for what columns there are.

        `columns` is a pyarrow Table, RecordBatch, RecordBatchReader or an iterable of record batches, of any size
        unless `atomic`. Raises CallFailed when a request is given up; doing the whole again counts nothing twice.
        """
        channel = self._channels.get(self._connection.ingest)
        sender = ColumnSender(channel, self._connection.metadata, self._sending.retry, backfill)
        result = ColumnsResult()
        for arrow_ipc, rows in encoded_requests(columns, in_one=atomic):
            answer = sender.send(arrow_ipc, rows, threading.Event(), atomic=atomic)
            if isinstance(answer, Failure):
                raise CallFailed(answer)
            result = result.after(answer)
        return result

    def record_cloud_events(
        self, events: CloudEvents, *, atomic: bool = False, backfill: str = ""
    ) -> tuple[UsageResult, ...]:
        """Record 1 to 10,000 CloudEvents in one request and wait; retried and answered as `record_batch`.

        `events` are JSON text (a batch, or one), mappings with the members of the JSON format, or protobuf messages.
        Raises WrongType or WrongValue for what cannot be sent.
        """
        channel = self._channels.get(self._connection.ingest)
        sender = CloudEventSender(channel, self._connection.metadata, self._sending.retry, backfill)
        return sender.send(cloud_event_batch(events), threading.Event(), atomic=atomic)

    def flush(self, timeout_s: float | None = None) -> None:
        """Send what is queued without lingering and wait until it is answered; raises FlushTimedOut.

        The default time is `close_timeout_s`. Usage events that are recorded meanwhile are not waited for.
        """
        self._background.flush(self._sending.close_timeout_s if timeout_s is None else timeout_s)

    def close(self, timeout_s: float | None = None) -> None:
        """Flush, then stop; what has no answer by then is undelivered. Safe to repeat."""
        self._background.close(self._sending.close_timeout_s if timeout_s is None else timeout_s)
        for channel in self._channels.take_all():
            channel.close()

    @property
    def counters(self) -> Counters:
        """How many usage events were taken, and what became of them."""
        return self._background.counters

    @property
    def source(self) -> str:
        """The source of usage events that name none."""
        return self._producer.source

    @property
    def usage(self) -> UsageReader:
        """Usage: query, watch, totals, the usage events behind them, and what was refused."""
        return UsageReader(self._asking)

    @property
    def corrections(self) -> Corrections:
        """Corrections of recorded usage, and backfills."""
        return Corrections(self._asking)

    @property
    def meters(self) -> Meters:
        """Meters: create, preview, redefine, update, archive and list them."""
        return Meters(self._asking)

    @property
    def periods(self) -> Periods:
        """Usage by period: running totals, what was closed and restated."""
        return Periods(self._asking)

    @property
    def storage(self) -> UsageStorage:
        """The archive of usage, and checks of usage against the log."""
        return UsageStorage(self._asking)

    def list_invoices(
        self, customer: str = "", *, state: str = "any", timeout_s: float = READ_TIMEOUT_S
    ) -> Iterator[Invoice]:
        """Invoices by period, customer and id, fetched page by page; state is any, draft or finalized.

        Raises CallFailed. `timeout_s` is that of one page.
        """
        return self._asking.every(invoices(customer, state), timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
