"""The threads that send what a synchronous client queued."""

import atexit
import threading
from concurrent.futures import Future

import grpc

from meterlog.client.channel import Connection, open_channel
from meterlog.client.clock import monotonic_s
from meterlog.client.delivery import BatchSender
from meterlog.client.errors import ClientClosed, FlushTimedOut, QueueFull
from meterlog.client.log import LOG, log_refused
from meterlog.client.outbox import Batch, Counters, Outbox, size_of, too_large
from meterlog.client.process import OwnProcess
from meterlog.client.result import CLIENT_CLOSED, CLIENT_FAILED, UsageResult, undelivered
from meterlog.client.sending import Sending, WhenFull
from meterlog.ingest.v1.ingest_pb2 import UsageEvent

_IDLE_WAIT_S = 60.0
_JOIN_TIMEOUT_S = 5.0


class Background:
    """A bounded queue and the threads that empty it, started with the first usage event.

    One lock guards the outbox. Answers, and with them the callbacks of the caller, are given without it.
    """

    def __init__(self, connection: Connection, sending: Sending) -> None:
        self._connection = connection
        self._sending = sending
        self._outbox = Outbox(sending)
        self._process = OwnProcess()
        lock = threading.Lock()
        self._changed_by_caller = threading.Condition(lock)
        self._changed_by_sender = threading.Condition(lock)
        self._lock = lock
        self._stopping = threading.Event()
        self._closed = False
        self._channel: grpc.Channel | None = None
        self._threads: tuple[threading.Thread, ...] = ()

    def put(self, event: UsageEvent, future: "Future[UsageResult]") -> None:
        """Queue one event, waiting for room as the settings say; the future gets its result."""
        self._process.claim()
        size_bytes = size_of(event)
        refusal = too_large(event, size_bytes)
        with self._lock:
            self._require_room(size_bytes)
            if refusal is None:
                self._start_once()
                if self._outbox.add(event, size_bytes, future.set_result, monotonic_s()):
                    self._changed_by_caller.notify()
                return
            self._outbox.refuse(refusal)
        log_refused([refusal])
        future.set_result(refusal)

    def flush(self, timeout_s: float) -> None:
        """Send what is queued at once and wait until it is answered; raises FlushTimedOut."""
        self._process.claim()
        with self._lock:
            last = self._outbox.hurry()
            self._changed_by_caller.notify_all()
            if not self._changed_by_sender.wait_for(lambda: self._outbox.is_settled(last), timeout_s):
                unanswered = self._outbox.counters.unanswered
                raise FlushTimedOut(f"{unanswered} usage events have no answer after {timeout_s} s; flush again")

    def close(self, timeout_s: float) -> None:
        """Flush, stop the threads, and answer "undelivered" to what is left. Nothing happens in a fork's child."""
        if self._process.is_another or not self._refuse_from_now_on():
            return
        try:
            self.flush(timeout_s)
        except FlushTimedOut as error:
            LOG.error("closing before every answer came: %s", error)
        self._stop_threads()
        self._give_up_the_rest()
        atexit.unregister(self._close_at_exit)

    @property
    def counters(self) -> Counters:
        """The counts so far; raises UsedAfterFork."""
        self._process.claim()
        with self._lock:
            return self._outbox.counters

    def _require_room(self, size_bytes: int) -> None:
        if not self._outbox.has_room(size_bytes):
            self._outbox.hurry()
            self._changed_by_caller.notify_all()
        patience_s = self._sending.block_timeout_s if self._sending.when_full is WhenFull.BLOCK else 0.0
        has_room = self._changed_by_sender.wait_for(
            lambda: self._closed or self._outbox.has_room(size_bytes), patience_s
        )
        if self._closed:
            raise ClientClosed("the client was closed; create another one to go on recording")
        if not has_room:
            raise QueueFull("the queue is full: usage arrives faster than it is accepted; wait, then record again")

    def _start_once(self) -> None:
        if self._channel is not None:
            return
        self._channel = open_channel(self._connection.ingest, self._connection.tls)
        sender = BatchSender(self._channel, self._connection.metadata, self._sending.retry)
        self._threads = tuple(
            threading.Thread(target=self._run, args=(sender,), name=f"meterlog-sender-{index}", daemon=True)
            for index in range(self._sending.in_flight_max)
        )
        for thread in self._threads:
            thread.start()
        atexit.register(self._close_at_exit)

    def _run(self, sender: BatchSender) -> None:
        while (batch := self._next_batch()) is not None:
            self._answer(batch, self._send(sender, batch))

    def _send(self, sender: BatchSender, batch: Batch) -> tuple[UsageResult, ...]:
        try:
            return sender.send(batch.events, self._stopping)
        except Exception:  # noqa: BLE001 - the thread's outermost loop: without an answer the caller would wait for ever
            if not self._stopping.is_set():
                LOG.exception("sending %d usage events failed", len(batch.entries))
            return undelivered(batch.events, CLIENT_FAILED)

    def _next_batch(self) -> Batch | None:
        with self._lock:
            while not self._stopping.is_set():
                due_in_s = self._outbox.due_in_s(monotonic_s())
                if due_in_s == 0.0:
                    return self._take()
                self._changed_by_caller.wait(_IDLE_WAIT_S if due_in_s is None else due_in_s)
            return None

    def _take(self) -> Batch:
        batch = self._outbox.take()
        if self._outbox.has_waiting:
            self._changed_by_caller.notify()  # Else nobody looks after the rest while this thread sends.
        return batch

    def _answer(self, batch: Batch, results: tuple[UsageResult, ...]) -> None:
        log_refused(results)
        for entry, result in zip(batch.entries, results, strict=True):
            entry.answer(result)
        with self._lock:
            self._outbox.settle(batch, results)
            self._changed_by_sender.notify_all()

    def _refuse_from_now_on(self) -> bool:
        with self._lock:
            was_open, self._closed = not self._closed, True
            self._changed_by_sender.notify_all()
            return was_open

    def _stop_threads(self) -> None:
        self._stopping.set()
        with self._lock:
            self._changed_by_caller.notify_all()
        if self._channel is not None:
            self._channel.close()
        for thread in self._threads:
            thread.join(_JOIN_TIMEOUT_S)

    def _give_up_the_rest(self) -> None:
        while (batch := self._take_one()) is not None:
            self._answer(batch, undelivered(batch.events, CLIENT_CLOSED))

    def _take_one(self) -> Batch | None:
        with self._lock:
            return self._outbox.take() if self._outbox.has_waiting else None

    def _close_at_exit(self) -> None:
        self.close(self._sending.close_timeout_s)
