"""Gathers the usage of one partition into groups and has them recorded one after the other.

What arrives while a group is on its way to the disk is gathered for the next one, and a few rows wait a few
milliseconds for company, longer while more and more comes: a group costs as much as dozens of calls, and small events
of the log make it slow to replay. When much is waiting, the next group is made ready while the one before it is on its
way.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from services.ingest.compute import computed
from services.ingest.group import Group
from services.ingest.joined_usage import Usage
from services.ingest.recording import Commitment, Recording
from services.ingest.rules import PROPERTY_KEYS_MAX
from services.kernel.errors import DomainError, Unavailable

GROUP_ROWS_MAX = 10_000
GROUP_ROWS_ENOUGH = 500
"""So many rows wait for nobody."""
GATHER_S_MAX = 0.010
"""However much comes, a group waits no longer for more."""
GROUP_ROWS_AHEAD = 5_000
"""From so many waiting rows on, the next group is made ready while another is on its way."""

Prepare: TypeAlias = Callable[[Sequence[Usage], Commitment], Group]
Record: TypeAlias = Callable[[Group], Awaitable[Recording]]

log = structlog.get_logger()


class PartitionWriter:
    """The only writer of its partition in this process. All of it belongs to one event loop."""

    def __init__(self, prepare: Prepare, record: Record, gather_s: float) -> None:
        """`prepare` makes a group, in a thread when it is large; `record` makes it durable and tells what became of it.

        Few rows wait `gather_s` for more, and again as long as some came, up to GATHER_S_MAX.
        """
        self._prepare = prepare
        self._record = record
        self._gather_s = gather_s
        self._waiting: deque[_Waiting] = deque()
        self._waiting_rows = 0
        self._has_enough = asyncio.Event()
        self._next_look: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def waiting_rows(self) -> int:
        """Usage events that wait for their group."""
        return self._waiting_rows

    def submit(self, usage: Usage, commitment: Commitment = Commitment.EACH) -> "asyncio.Future[Recording]":
        """Queue usage events; the future ends when all of them are durable, or with the error.

        Cancelling the future takes them out of the queue, as long as they are not being written.
        """
        waiting = _Waiting(usage, commitment, asyncio.get_running_loop().create_future())
        waiting.answer.add_done_callback(lambda answer: self._forget(waiting) if answer.cancelled() else None)
        self._waiting.append(waiting)
        self._waiting_rows += len(usage)
        if self._waiting_rows >= GROUP_ROWS_ENOUGH:
            self._has_enough.set()
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_groups())
        return waiting.answer

    def _forget(self, waiting: "_Waiting") -> None:
        """Let go of what nobody waits for any more, so that callers who give up never fill the memory."""
        if waiting in self._waiting:
            self._waiting.remove(waiting)
            self._waiting_rows -= len(waiting.usage)

    async def _write_groups(self) -> None:
        following: _Gathered | None = None
        try:
            while self._waiting or following:
                if following is None:
                    await self._wait_for_company()
                current, following = following or self._gathered(), None
                if not await current.is_ready():
                    continue
                if self._waiting_rows >= GROUP_ROWS_AHEAD:
                    following = self._gathered()
                await self._write_group(current)
        finally:
            self._writing = None

    async def _wait_for_company(self) -> None:
        if self._waiting_rows >= GROUP_ROWS_ENOUGH or not self._waiting[0].may_share():
            return
        self._has_enough.clear()
        self._look_again(asyncio.get_running_loop().time() + GATHER_S_MAX)
        try:
            await self._has_enough.wait()
        finally:
            if self._next_look is not None:
                self._next_look.cancel()

    def _look_again(self, latest_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._next_look = loop.call_later(self._gather_s, self._look, self._waiting_rows, latest_s)

    def _look(self, known_rows: int, latest_s: float) -> None:
        """Wait on when more than the known rows wait by now, but not past the latest instant of the loop's clock."""
        is_time_left = asyncio.get_running_loop().time() + self._gather_s <= latest_s
        if self._waiting_rows > known_rows and is_time_left:
            self._look_again(latest_s)
        else:
            self._has_enough.set()

    def _gathered(self) -> "_Gathered":
        """The next group, which is made ready from now on."""
        members = self._gather()
        return _Gathered(members, asyncio.create_task(self._made_ready(members)))

    def _gather(self) -> "list[_Waiting]":
        """The oldest that fit together into one group; those that nobody waits for any more are left out."""
        gathered: list[_Waiting] = []
        rows, keys = 0, set[str]()
        while self._waiting:
            waiting = self._waiting[0]
            if not waiting.answer.done():
                rows += len(waiting.usage)
                keys |= waiting.usage.property_keys()
                is_too_much = rows > GROUP_ROWS_MAX or len(keys) > PROPERTY_KEYS_MAX
                if gathered and (is_too_much or not gathered[0].may_share() or not waiting.may_share()):
                    break
                gathered.append(waiting)
            self._waiting.popleft()
            self._waiting_rows -= len(waiting.usage)
        return gathered

    async def _made_ready(self, members: "list[_Waiting]") -> Group | None:
        """The group of these members; None when there are none, or when they were answered with an error."""
        if not members:
            return None
        rows = sum(waiting.usage.work() for waiting in members)
        parts, commitment = [waiting.usage for waiting in members], members[0].commitment
        with _refusing(members):
            return await computed(rows, lambda: self._prepare(parts, commitment))
        return None

    async def _write_group(self, gathered: "_Gathered") -> None:
        group = gathered.group.result()
        assert group is not None, "only a group that is ready is written"
        with _refusing(gathered.members):
            _answer(gathered.members, await self._record(group))


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    usage: Usage
    commitment: Commitment
    answer: "asyncio.Future[Recording]"

    def may_share(self) -> bool:
        """Whether it may be recorded together with others: an atomic batch is a group of its own."""
        return self.commitment is Commitment.EACH


@dataclass(frozen=True, slots=True, eq=False)
class _Gathered:
    members: list[_Waiting]
    group: "asyncio.Task[Group | None]"

    async def is_ready(self) -> bool:
        """Whether the group is there to be written; told when it is made."""
        return await self.group is not None


@contextmanager
def _refusing(members: Sequence[_Waiting]) -> Iterator[None]:
    """Whatever goes wrong in the block is the members' answer: nobody may be left without one."""
    try:
        yield
    except DomainError as error:
        _refuse(members, error)
    except Exception as error:  # the outermost loop of recording
        log.error("usage could not be recorded", exc_info=error)
        _refuse(members, Unavailable("usage could not be recorded for an unforeseen reason; send the same again"))


def _answer(members: Sequence[_Waiting], recording: Recording) -> None:
    start = 0
    for waiting in members:
        end = start + len(waiting.usage)
        if not waiting.answer.done():
            waiting.answer.set_result(recording.part(start, end))
        start = end


def _refuse(members: Sequence[_Waiting], error: DomainError) -> None:
    for waiting in members:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
