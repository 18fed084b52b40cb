"""Gathers the usage of one partition into groups and has them recorded one after the other.

What arrives while a group is on its way to the disk is gathered for the next one, and a few rows wait a few
milliseconds for company: small events of the log make it slow to replay. All of it runs on the event loop: the index
lets go of Python's global lock at every key, and a thread of its own would have to win it back each time.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from services.ingest.compute import computed
from services.ingest.group import Group
from services.ingest.recording import Recording
from services.ingest.rules import PROPERTY_KEYS_MAX
from services.ingest.usage_columns import UsageColumns, joined
from services.kernel.errors import DomainError, Unavailable

GROUP_ROWS_MAX = 10_000
GROUP_ROWS_ENOUGH = 500
"""So many rows wait for nobody."""

log = structlog.get_logger()


class PartitionWriter:
    """The only writer of its partition in this process. All of it belongs to one event loop."""

    def __init__(self, record: Callable[[Group], Awaitable[Recording]], gather_s: float) -> None:
        """`record` makes a group durable and tells what became of it; few rows wait `gather_s` for more."""
        self._record = record
        self._gather_s = gather_s
        self._waiting: deque[_Waiting] = deque()
        self._waiting_rows = 0
        self._has_enough = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None

    def waiting_rows(self) -> int:
        """Usage events that wait for their group."""
        return self._waiting_rows

    def submit(self, columns: UsageColumns) -> "asyncio.Future[Recording]":
        """Queue usage events; the future ends when all of them are durable, or with the error.

        Cancelling the future takes them out of the queue, as long as they are not being written.
        """
        waiting = _Waiting(columns, asyncio.get_running_loop().create_future())
        waiting.answer.add_done_callback(lambda answer: self._forget(waiting) if answer.cancelled() else None)
        self._waiting.append(waiting)
        self._waiting_rows += len(columns)
        if self._waiting_rows >= GROUP_ROWS_ENOUGH:
            self._has_enough.set()
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_groups())
        return waiting.answer

    def _forget(self, waiting: "_Waiting") -> None:
        """Let go of what nobody waits for any more, so that callers who give up never fill the memory."""
        if waiting in self._waiting:
            self._waiting.remove(waiting)
            self._waiting_rows -= len(waiting.columns)

    async def _write_groups(self) -> None:
        try:
            while self._waiting:
                await self._wait_for_company()
                if gathered := self._gather():
                    await self._write_group(gathered)
        finally:
            self._writing = None

    async def _wait_for_company(self) -> None:
        if self._waiting_rows >= GROUP_ROWS_ENOUGH:
            return
        self._has_enough.clear()
        try:
            async with asyncio.timeout(self._gather_s):
                await self._has_enough.wait()
        except TimeoutError:
            return

    def _gather(self) -> "list[_Waiting]":
        """The oldest that fit together into one group; those that nobody waits for any more are left out."""
        gathered: list[_Waiting] = []
        rows, keys = 0, set[str]()
        while self._waiting:
            waiting = self._waiting[0]
            if not waiting.answer.done():
                rows += len(waiting.columns)
                keys |= waiting.columns.property_keys()
                if gathered and (rows > GROUP_ROWS_MAX or len(keys) > PROPERTY_KEYS_MAX):
                    break
                gathered.append(waiting)
            self._waiting.popleft()
            self._waiting_rows -= len(waiting.columns)
        return gathered

    async def _write_group(self, gathered: "list[_Waiting]") -> None:
        try:
            columns = joined([waiting.columns for waiting in gathered])
            recording = await self._record(await computed(len(columns), lambda: Group(columns)))
        except DomainError as error:
            _refuse(gathered, error)
        except Exception as error:  # the outermost loop: nobody may be left without an answer
            log.error("usage could not be recorded", exc_info=error)
            _refuse(gathered, Unavailable("usage could not be recorded for an unforeseen reason; send the same again"))
        else:
            _answer(gathered, recording)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    columns: UsageColumns
    answer: "asyncio.Future[Recording]"


def _answer(gathered: "list[_Waiting]", recording: Recording) -> None:
    start = 0
    for waiting in gathered:
        end = start + len(waiting.columns)
        if not waiting.answer.done():
            waiting.answer.set_result(recording.part(start, end))
        start = end


def _refuse(gathered: "list[_Waiting]", error: DomainError) -> None:
    for waiting in gathered:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
