"""Several batches on their way at once, acknowledged in the order of the file."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from meterlog.client import RetryPolicy, UsageResult
from meterlog.client.channel import Connection, open_channel
from meterlog.client.delivery import BatchSender
from services.cli.importing.batch import Batch

IN_FLIGHT_MAX = 4
PATIENCE = RetryPolicy(give_up_after_s=60.0, call_timeout_s=30.0, delay_max_s=1.0)
"""Long enough for the service to be killed and started again."""

_MARGIN_S = 30.0

Acknowledged = tuple[Batch, Sequence[UsageResult]]


class BatchesInOrder:
    """Sends batches over one connection, `in_flight` at a time; a context manager, which waits for no answer."""

    def __init__(self, connection: Connection, retry: RetryPolicy = PATIENCE, in_flight: int = IN_FLIGHT_MAX) -> None:
        self._channel = open_channel(connection.ingest, connection.tls)
        self._sender = BatchSender(self._channel, connection.metadata, retry)
        self._answer_wait_s = retry.give_up_after_s + retry.call_timeout_s + _MARGIN_S
        self._stopping = threading.Event()
        self._in_flight = in_flight
        self._pool = ThreadPoolExecutor(in_flight, thread_name_prefix="meterlog-import")

    def send(self, batches: Iterable[Batch]) -> Iterator[Acknowledged]:
        """Each batch with the results of its events, in order; reads at most `in_flight` batches ahead."""
        waiting: deque[tuple[Batch, Future[Sequence[UsageResult]]]] = deque()
        for batch in batches:
            waiting.append((batch, self._pool.submit(self._send_one, batch)))
            if len(waiting) > self._in_flight:
                yield self._oldest(waiting)
        while waiting:
            yield self._oldest(waiting)

    def _oldest(self, waiting: "deque[tuple[Batch, Future[Sequence[UsageResult]]]]") -> Acknowledged:
        batch, future = waiting.popleft()
        return batch, future.result(self._answer_wait_s)

    def _send_one(self, batch: Batch) -> Sequence[UsageResult]:
        return self._sender.send(batch.events, self._stopping) if batch.events else ()

    def __enter__(self) -> "BatchesInOrder":
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._channel.close()
        self._pool.shutdown(wait=True)
