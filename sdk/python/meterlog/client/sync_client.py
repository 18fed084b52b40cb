"""The client for programs with threads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from types import TracebackType
from typing import Self

import grpc

from meterlog.aggregator.v1.aggregator_pb2_grpc import AggregatorServiceStub
from meterlog.client.background import Background
from meterlog.client.channel import Channels, Tls, connection, open_channel
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


class Meterlog:
    """Records usage in the background and reads usage and invoices; safe to share among threads.

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

    def query_usage(
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
        stub = AggregatorServiceStub(self._channels.get(self._connection.aggregator))
        try:
            response = stub.QueryUsage(request, timeout=timeout_s, metadata=self._connection.metadata)
        except grpc.RpcError as error:
            raise CallFailed(failure_of(error)) from error
        return usage_rows_of(response)

    def list_invoices(
        self, customer: str = "", *, state: str = "any", timeout_s: float = READ_TIMEOUT_S
    ) -> Iterator[Invoice]:
        """Invoices by period, customer and id, fetched page by page; state is any, draft or finalized.

        Raises CallFailed. `timeout_s` is that of one page.
        """
        request = invoices_request(customer, state)
        stub = RatingServiceStub(self._channels.get(self._connection.rating))
        while True:
            try:
                response = stub.ListInvoices(request, timeout=timeout_s, metadata=self._connection.metadata)
            except grpc.RpcError as error:
                raise CallFailed(failure_of(error)) from error
            yield from map(invoice_of, response.invoices)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
