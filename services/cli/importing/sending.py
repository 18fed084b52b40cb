"""Several batches on their way at once, acknowledged in the order of the file."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from meterlog.client import ColumnsResult, Failure, RetryPolicy, UsageOutcome, UsageResult
from meterlog.client.channel import Connection, open_channel
from meterlog.client.cloud_event import EventName, json_batch
from meterlog.client.columns import encoded_requests
from meterlog.client.delivery import BatchSender, CloudEventSender, ColumnSender
from services.cli.importing.cloud_event_batch import CloudEventBatch
from services.cli.importing.column_batch import ColumnBatch
from services.cli.importing.plan import AnyBatch

IN_FLIGHT_MAX = 4
PATIENCE = RetryPolicy(give_up_after_s=60.0, call_timeout_s=30.0, delay_max_s=1.0)
"""Long enough for the service to be killed and started again."""

_MARGIN_S = 30.0
_TOO_MUCH_IN_ONE = frozenset({"JSON_UNREADABLE", "JSON_TOO_LARGE"})
"""Reasons for which CloudEvents are refused together, though only one of them need be at fault."""

Answer = Sequence[UsageResult] | ColumnsResult | Failure
"""What became of a batch: of each of its rows, of rows in columns, or why columns were given up."""

Acknowledged = tuple[AnyBatch, Answer]


class BatchesInOrder:
    """Sends batches over one connection, `in_flight` at a time; a context manager, which waits for no answer."""

    def __init__(
        self,
        connection: Connection,
        retry: RetryPolicy = PATIENCE,
        in_flight: int = IN_FLIGHT_MAX,
        backfill: str = "",
    ) -> None:
        self._channel = open_channel(connection.ingest, connection.tls)
        self._sender = BatchSender(self._channel, connection.metadata, retry, backfill)
        self._column_sender = ColumnSender(self._channel, connection.metadata, retry, backfill)
        self._cloud_event_sender = CloudEventSender(self._channel, connection.metadata, retry, backfill)
        self._answer_wait_s = retry.give_up_after_s + retry.call_timeout_s + _MARGIN_S
        self._stopping = threading.Event()
        self._in_flight = in_flight
        self._pool = ThreadPoolExecutor(in_flight, thread_name_prefix="meterlog-import")

    def send(self, batches: Iterable[AnyBatch]) -> Iterator[Acknowledged]:
        """Each batch with the results of its events, in order; reads at most `in_flight` batches ahead."""
        waiting: deque[tuple[AnyBatch, Future[Answer]]] = deque()
        for batch in batches:
            waiting.append((batch, self._pool.submit(self._send_one, batch)))
            if len(waiting) > self._in_flight:
                yield self._oldest(waiting)
        while waiting:
            yield self._oldest(waiting)

    def _oldest(self, waiting: "deque[tuple[AnyBatch, Future[Answer]]]") -> Acknowledged:
        batch, future = waiting.popleft()
        return batch, future.result(self._answer_wait_s)

    def _send_one(self, batch: AnyBatch) -> Answer:
        if isinstance(batch, ColumnBatch):
            return self._send_columns(batch)
        if isinstance(batch, CloudEventBatch):
            return self._send_cloud_events(batch.texts, batch.names) if batch.texts else ()
        return self._sender.send(batch.events, self._stopping) if batch.events else ()

    def _send_columns(self, batch: ColumnBatch) -> ColumnsResult | Failure:
        """Usually one request; a batch with long texts takes several."""
        result = ColumnsResult()
        for arrow_ipc, rows in encoded_requests(batch.columns):
            answer = self._column_sender.send(arrow_ipc, rows, self._stopping)
            if isinstance(answer, Failure):
                return answer
            result = result.after(answer)
        return result

    def _send_cloud_events(self, texts: Sequence[str], names: Sequence[EventName]) -> Sequence[UsageResult]:
        """Usually one request; one that is refused as a whole is sent in halves, until it is known who is at fault."""
        results = self._cloud_event_sender.send(json_batch(texts, names), self._stopping)
        if results[0].outcome is not UsageOutcome.UNDELIVERED or results[0].reason not in _TOO_MUCH_IN_ONE:
            return results
        if len(texts) == 1:
            return (replace(results[0], outcome=UsageOutcome.INVALID),)
        half = len(texts) // 2
        return (
            *self._send_cloud_events(texts[:half], names[:half]),
            *self._send_cloud_events(texts[half:], names[half:]),
        )

    def __enter__(self) -> "BatchesInOrder":
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._channel.close()
        self._pool.shutdown(wait=True)
