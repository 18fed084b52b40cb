"""The courier: makes one attempt, from signing to the event that records it."""

import hashlib
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from services.eventstore.catalogue import encode
from services.eventstore.event import Position
from services.kernel.clock import Clock, epoch_us, monotonic_s
from services.notifier import policy
from services.notifier.delivery import DRY_RUN, Answer, Failure, Verdict, attempted, delivery_stream, expected_version
from services.notifier.endpoint import EndpointMode
from services.notifier.keyring import Keyring
from services.notifier.readmodel.due import PlannedAttempt
from services.notifier.recorder import Recorder
from services.notifier.signature import signed_headers
from services.notifier.transport import Transport

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Clocks:
    """Business time, in which attempts are scheduled and recorded, and the machine's time, which receivers check."""

    business: Clock
    wall: Clock


class Courier:
    """Sends, judges, records. `disable` switches an endpoint off whose receiver is gone."""

    def __init__(
        self,
        transport: Transport,
        recorder: Recorder,
        keyring: Keyring,
        clocks: Clocks,
        disable: Callable[[str], Awaitable[None]],
        *,
        is_dry_run: bool,
    ) -> None:
        """With `is_dry_run` nothing is ever posted, whatever the mode of an endpoint."""
        self._transport = transport
        self._recorder = recorder
        self._keyring = keyring
        self._clocks = clocks
        self._disable = disable
        self._is_dry_run = is_dry_run

    async def attempt(self, planned: PlannedAttempt) -> tuple[Verdict, Position]:
        """Make the attempt; returns what it means and the log position at which it is recorded.

        Raises Unavailable when it could not be recorded: it is then made again, with the same webhook-id.
        """
        attempted_at, begun_s = self._clocks.business.now(), monotonic_s()
        headers = self._headers(planned)
        if self._is_dry_run or planned.endpoint.mode is EndpointMode.DRY_RUN:
            answer, verdict = Answer(), DRY_RUN
        else:
            answer = await self._post(planned, headers)
            verdict = policy.verdict(answer, planned.key, planned.number, self._clocks.business.now())
        duration_ms = int((monotonic_s() - begun_s) * 1_000)
        position = await self._record(planned, attempted_at, duration_ms, answer, verdict)
        _log_outcome(planned, duration_ms, answer, verdict)
        if verdict.is_gone:
            await self._disable(planned.endpoint.key)
        return verdict, position

    def _headers(self, planned: PlannedAttempt) -> dict[str, str]:
        secret = self._keyring.recall(planned.endpoint.key, planned.endpoint.seal)
        timestamp_s = epoch_us(self._clocks.wall.now()) // 1_000_000
        return signed_headers(secret, planned.message_id, timestamp_s, planned.body)

    async def _post(self, planned: PlannedAttempt, headers: dict[str, str]) -> Answer:
        try:
            return await self._transport.post(planned.endpoint.url, headers, planned.body)
        except Exception as error:  # noqa: BLE001 (the outermost loop of one attempt: it must not end all others)
            log.error(
                "webhook attempt crashed", message=planned.message_id, error=type(error).__name__, at=_place(error)
            )
            return Answer(failure=Failure.UNFORESEEN)

    async def _record(
        self, planned: PlannedAttempt, attempted_at: datetime, duration_ms: int, answer: Answer, verdict: Verdict
    ) -> Position:
        stream, expected = delivery_stream(planned.key), expected_version(planned.number)
        event = attempted(planned.key, planned.number, attempted_at, duration_ms, answer, verdict)
        return await self._recorder.record(stream, encode(event, stream, expected + 1, attempted_at), expected)


def _place(error: Exception) -> str:
    """Where it was raised. The error's text is kept out of the log, for it may hold the endpoint's address."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.filename}:{last.lineno}"


def _log_outcome(planned: PlannedAttempt, duration_ms: int, answer: Answer, verdict: Verdict) -> None:
    """One line an attempt, with neither the body, nor the secret, nor the address, which may hold a secret itself."""
    log.info(
        "webhook attempt",
        message=planned.message_id,
        type=planned.message_type,
        endpoint=planned.endpoint.key,
        attempt=planned.number,
        state=verdict.state.value,
        status=answer.status,
        error=verdict.failure.value if verdict.failure else "",
        duration_ms=duration_ms,
        body_sha256=hashlib.sha256(planned.body).hexdigest(),
        body_bytes=len(planned.body),
    )
