"""What every door does with a request: limits, admission, the backfill's source, validation, recording, the report."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from services.ingest.admission import Admission
from services.ingest.backfill import Backfills
from services.ingest.client_limits import ClientLimits
from services.ingest.compute import ROW_BYTES, computed
from services.ingest.recorder import Recorder
from services.ingest.recording import Commitment, Recording, nothing_recorded
from services.ingest.usage_report import UsageReport
from services.ingest.validate import Validated
from services.kernel.clock import Clock, epoch_us
from services.kernel.errors import DomainError, Overloaded
from services.rpc.authorization import EVERYBODY
from services.rpc.interceptor import caller_of_call

TURN_WAIT_S: Final = 30.0
"""How long a stream is not read on for its client's rate and for room, until its next batch is refused."""

Validate: TypeAlias = Callable[[int, str], Validated]
"""Takes the clock in microseconds since 1970, and what stands before every source."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, and what it weighs: usage events as they count for memory, and bytes."""

    usage_events: int
    weight: int
    size_bytes: int
    is_atomic: bool
    backfill: str

    def work(self) -> int:
        """What it is to validate, in usage events of ordinary size: a single one may be as large as ten thousand."""
        return max(self.usage_events, self.size_bytes // ROW_BYTES)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a request was found to be, and what became of it."""

    validated: Validated
    recording: Recording


class Intake:
    """The way of a request from its door to the recorder. Belongs to one event loop."""

    def __init__(
        self, recorder: Recorder, clock: Clock, backfills: Backfills, limits: ClientLimits, report: UsageReport
    ) -> None:
        self._recorder = recorder
        self._clock = clock
        self._backfills = backfills
        self._limits = limits
        self._admission = Admission()
        self.report = report

    def call(self) -> AbstractContextManager[None]:
        """Around everything that is done for one call: counts it among its client's, and in the report when it is
        refused.
        """
        return _UnderWay(self._limits.begin_call, self._limits.end_call, self.report, _client())

    def stream(self) -> AbstractContextManager[None]:
        """As `call`, around a call that is a stream."""
        return _UnderWay(self._limits.begin_stream, self._limits.end_stream, self.report, _client())

    def refusals(self) -> AbstractContextManager[None]:
        """Around one batch of a stream: counts it in the report when it is refused."""
        return self.report.refusals(_client())

    def calls_under_way(self) -> int:
        """How many calls have not ended."""
        return self._limits.calls_under_way()

    async def enter(self, asked: Asked) -> Callable[[], None]:
        """Let a batch of a stream in as soon as it may, until what is returned is called.

        Raises Overloaded when that lasts longer than TURN_WAIT_S, or at once when too much waits already.
        """
        client = _client()
        with self._admission.waiting(asked.size_bytes) as may_wait, suppress(TimeoutError):
            async with asyncio.timeout(TURN_WAIT_S if may_wait else 0):
                await self._turn(client, asked)
        return self._enter_now(client, asked)  # nothing is awaited since: the turn is still its own

    async def take(self, asked: Asked, validate: Validate) -> Taken:
        """Record what is valid; told when it is durable. Raises Overloaded when too much is under way."""
        leave = self._enter_now(_client(), asked)
        try:
            return await self.take_entered(asked, validate)
        finally:
            leave()

    async def take_entered(self, asked: Asked, validate: Validate) -> Taken:
        """As `take`, for what was let in by `enter`."""
        prefix = await self._backfills.prefix(asked.backfill)
        now_us = epoch_us(self._clock.now())
        validated = await computed(asked.work(), lambda: validate(now_us, prefix))
        recording = await self._recording(validated, asked)
        self.report.count(_client(), validated.problems, recording)
        return Taken(validated, recording)

    async def _turn(self, client: str, asked: Asked) -> None:
        """Return when `_enter_now` would let it in; others may be first each time, and then it waits on."""
        while self._limits.wait_s(client) > 0 or not self._admission.has_room(client, asked.weight, asked.size_bytes):
            await self._limits.wait(client)
            await self._admission.wait_for_room(client, asked.weight, asked.size_bytes)

    def _enter_now(self, client: str, asked: Asked) -> Callable[[], None]:
        leave = self._admission.enter(client, asked.weight, asked.size_bytes)
        try:
            self._limits.take(client, asked.usage_events)
        except Overloaded:
            leave()
            raise
        return leave

    async def _recording(self, validated: Validated, asked: Asked) -> Recording:
        if not len(validated.rows):
            return nothing_recorded(0)
        commitment = Commitment.ALL if asked.is_atomic else Commitment.EACH
        if asked.is_atomic and validated.problems:
            commitment = Commitment.NONE
        return await self._recorder.record(validated.usage, commitment)


class _UnderWay:
    """A call under way. Every call has one, so it is a plain object, which is quicker to make than generators."""

    __slots__ = ("_begin", "_client", "_end", "_report")

    def __init__(
        self, begin: Callable[[str], None], end: Callable[[str], None], report: UsageReport, client: str
    ) -> None:
        self._begin = begin
        self._end = end
        self._report = report
        self._client = client

    def __enter__(self) -> None:
        try:
            self._begin(self._client)
        except DomainError as error:
            self._report.count_refusal(self._client, error)
            raise

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._end(self._client)
        if isinstance(error, DomainError):
            self._report.count_refusal(self._client, error)


def _client() -> str:
    """The name of the caller's API key; "everybody" where none is configured."""
    return caller_of_call.get(EVERYBODY).name
