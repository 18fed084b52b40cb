"""A stream of batches from a thread: sent over one connection, and over another one when that fails."""

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import grpc

from meterlog.client.delivery import Metadata, Tries
from meterlog.client.failure import Failure, failure_of
from meterlog.client.result import UsageResult
from meterlog.client.retry import RetryPolicy
from meterlog.client.stream import StreamWindow
from meterlog.ingest.v1.ingest_pb2 import RecordUsageStreamRequest, RecordUsageStreamResponse, UsageEvent
from meterlog.ingest.v1.ingest_pb2_grpc import IngestServiceStub

NO_ANSWER = Failure("DEADLINE_EXCEEDED", "the service did not answer on the stream in time", "STREAM_STALLED")
STREAM_ENDED = Failure("UNAVAILABLE", "the service ended the stream before every batch was answered", "STREAM_ENDED")


class _Call(Protocol):
    """What gRPC makes of a stream: its answers, and a way to end it."""

    def __iter__(self) -> Iterator[RecordUsageStreamResponse]: ...

    def cancel(self) -> bool: ...


class StreamSender:
    """Sends batches in order over one channel; its results come in the order of the batches."""

    def __init__(self, channel: grpc.Channel, metadata: Metadata, retry: RetryPolicy) -> None:
        self._stub = IngestServiceStub(channel)
        self._metadata = metadata
        self._retry = retry

    def send(self, batches: Iterable[Sequence[UsageEvent]], window: StreamWindow) -> Iterator[tuple[UsageResult, ...]]:
        """The results of each batch, read no further ahead than the window; one that is given up is undelivered."""
        source = iter(batches)
        is_more = True
        connection = _Connection(self._stub, self._metadata)
        tries: Tries | None = None
        try:
            while True:
                while is_more and window.has_room:
                    batch = next(source, None)
                    is_more = batch is not None
                    if batch is not None:
                        connection.put(window.add(batch))
                if not window.is_waiting:
                    yield from window.take_ready()
                    if not is_more:
                        return
                    continue
                failure = connection.answer_into(window, self._retry.call_timeout_s)
                if failure is None:
                    tries = None
                else:
                    tries = tries or Tries(self._retry, window.unanswered_count)
                    connection.close()
                    connection = self._again(window, tries, failure)
                yield from window.take_ready()
        finally:
            connection.close()

    def _again(self, window: StreamWindow, tries: Tries, failure: Failure) -> "_Connection":
        delay_s = tries.delay_after_s(failure)
        if delay_s is None:
            window.give_up(failure)
        else:
            threading.Event().wait(delay_s)
        connection = _Connection(self._stub, self._metadata)
        for request in window.unanswered():
            connection.put(request)
        return connection


class _Connection:
    """One call; opened with the first request. A thread takes what the service says, so that no wait is without end."""

    def __init__(self, stub: IngestServiceStub, metadata: Metadata) -> None:
        self._stub = stub
        self._metadata = metadata
        self._outgoing: queue.SimpleQueue[RecordUsageStreamRequest | None] = queue.SimpleQueue()
        self._incoming: queue.SimpleQueue[RecordUsageStreamResponse | Failure] = queue.SimpleQueue()
        self._call: _Call | None = None

    def put(self, request: RecordUsageStreamRequest) -> None:
        self._outgoing.put(request)
        if self._call is None:
            self._call = self._stub.RecordUsageStream(iter(self._outgoing.get, None), metadata=self._metadata)
            threading.Thread(target=self._listen, args=(self._call,), name="meterlog-stream", daemon=True).start()

    def answer_into(self, window: StreamWindow, timeout_s: float) -> Failure | None:
        """Take one answer into the window; why another connection is needed, if one is."""
        try:
            answer = self._incoming.get(timeout=timeout_s)
        except queue.Empty:
            return NO_ANSWER
        return answer if isinstance(answer, Failure) else window.answer(answer)

    def close(self) -> None:
        self._outgoing.put(None)
        if self._call is not None:
            self._call.cancel()

    def _listen(self, call: _Call) -> None:
        try:
            for response in call:
                self._incoming.put(response)
            self._incoming.put(STREAM_ENDED)
        except grpc.RpcError as error:
            self._incoming.put(failure_of(error))
