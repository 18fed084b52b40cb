"""The tasks that send what an asyncio client queued."""

import asyncio
import atexit
from collections.abc import Callable

import grpc

from meterlog.client.channel import Connection, open_async_channel
from meterlog.client.clock import monotonic_s
from meterlog.client.delivery import AsyncBatchSender
from meterlog.client.errors import ClientClosed, FlushTimedOut, QueueFull
from meterlog.client.leftovers import send_leftovers
from meterlog.client.log import LOG, log_refused
from meterlog.client.outbox import Batch, Counters, Outbox, size_of, too_large
from meterlog.client.process import OwnProcess
from meterlog.client.result import CLIENT_CLOSED, CLIENT_FAILED, UsageResult, undelivered
from meterlog.client.sending import Sending, WhenFull
from meterlog.ingest.v1.ingest_pb2 import UsageEvent

_IDLE_WAIT_S = 60.0


class AsyncBackground:
    """A bounded queue and the tasks that empty it, started with the first usage event in the loop of that call."""

    def __init__(self, connection: Connection, sending: Sending) -> None:
        self._connection = connection
        self._sending = sending
        self._outbox = Outbox(sending)
        self._process = OwnProcess()
        self._changed_by_caller = asyncio.Event()
        self._changed_by_sender = asyncio.Event()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: grpc.aio.Channel | None = None
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    async def put(self, event: UsageEvent, answer: Callable[[UsageResult], None]) -> None:
        """Queue one event, waiting for room as the settings say; `answer` is called with its result."""
        self._process.claim()
        self._require_own_loop()
        size_bytes = size_of(event)
        await self._require_room(size_bytes)
        if refusal := too_large(event, size_bytes):
            self._outbox.refuse(refusal)
            log_refused([refusal])
            answer(refusal)
            return
        self._start_once()
        if self._outbox.add(event, size_bytes, answer, monotonic_s()):
            self._changed_by_caller.set()

    async def flush(self, timeout_s: float) -> None:
        """Send what is queued at once and wait until it is answered; raises FlushTimedOut."""
        self._process.claim()
        self._require_own_loop()
        last = self._outbox.hurry()
        self._changed_by_caller.set()
        if not await self._wait_until(lambda: self._outbox.is_settled(last), timeout_s):
            unanswered = self._outbox.counters.unanswered
            raise FlushTimedOut(f"{unanswered} usage events have no answer after {timeout_s} s; flush again")

    async def close(self, timeout_s: float) -> None:
        """Flush, stop the tasks, and answer "undelivered" to what is left. Nothing happens in a fork's child."""
        if self._process.is_another or self._closed:
            return
        self._closed = True
        self._changed_by_sender.set()
        try:
            await self.flush(timeout_s)
        except FlushTimedOut as error:
            LOG.error("closing before every answer came: %s", error)
        await self._stop_tasks()
        self._outbox.recall()
        while self._outbox.has_waiting:
            batch = self._outbox.take()
            self._answer(batch, undelivered(batch.events, CLIENT_CLOSED))
        atexit.unregister(self._send_at_exit)

    @property
    def counters(self) -> Counters:
        """The counts so far."""
        return self._outbox.counters

    def _require_own_loop(self) -> None:
        running = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = running
        elif self._loop is not running:
            raise ClientClosed("the client belongs to another event loop; create one in this loop")

    async def _require_room(self, size_bytes: int) -> None:
        if not self._outbox.has_room(size_bytes):
            self._outbox.hurry()
            self._changed_by_caller.set()
        patience_s = self._sending.block_timeout_s if self._sending.when_full is WhenFull.BLOCK else 0.0
        has_room = await self._wait_until(lambda: self._closed or self._outbox.has_room(size_bytes), patience_s)
        if self._closed:
            raise ClientClosed("the client was closed; create another one to go on recording")
        if not has_room:
            raise QueueFull("the queue is full: usage arrives faster than it is accepted; wait, then record again")

    async def _wait_until(self, predicate: Callable[[], bool], timeout_s: float) -> bool:
        give_up_at_s = monotonic_s() + timeout_s
        while not predicate():
            left_s = give_up_at_s - monotonic_s()
            if left_s <= 0:
                return False
            self._changed_by_sender.clear()
            await _is_set_within(self._changed_by_sender, left_s)
        return True

    def _start_once(self) -> None:
        if self._channel is not None:
            return
        self._channel = open_async_channel(self._connection.ingest, self._connection.tls)
        sender = AsyncBatchSender(self._channel, self._connection.metadata, self._sending.retry)
        self._tasks = tuple(
            asyncio.create_task(self._run(sender), name=f"meterlog-sender-{index}")
            for index in range(self._sending.in_flight_max)
        )
        atexit.register(self._send_at_exit)

    async def _run(self, sender: AsyncBatchSender) -> None:
        while True:
            batch = await self._next_batch()
            self._answer(batch, await self._send(sender, batch))

    async def _send(self, sender: AsyncBatchSender, batch: Batch) -> tuple[UsageResult, ...]:
        try:
            return await sender.send(batch.events)
        except Exception:  # noqa: BLE001 - the task's outermost loop: without an answer the caller would wait for ever
            LOG.exception("sending %d usage events failed", len(batch.entries))
            return undelivered(batch.events, CLIENT_FAILED)

    async def _next_batch(self) -> Batch:
        while (due_in_s := self._outbox.due_in_s(monotonic_s())) != 0.0:
            self._changed_by_caller.clear()
            await _is_set_within(self._changed_by_caller, _IDLE_WAIT_S if due_in_s is None else due_in_s)
        return self._take()

    def _take(self) -> Batch:
        batch = self._outbox.take()
        if self._outbox.has_waiting:
            self._changed_by_caller.set()  # Else nobody looks after the rest while this task sends.
        return batch

    def _answer(self, batch: Batch, results: tuple[UsageResult, ...]) -> None:
        log_refused(results)
        for entry, result in zip(batch.entries, results, strict=True):
            entry.answer(result)
        self._outbox.settle(batch, results)
        self._changed_by_sender.set()

    async def _stop_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()

    def _send_at_exit(self) -> None:
        if not self._process.is_another:
            self._outbox.recall()
            send_leftovers(self._outbox, self._connection, self._sending)


async def _is_set_within(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return False
