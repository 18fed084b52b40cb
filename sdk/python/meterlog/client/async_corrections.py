"""Corrections from an event loop: preview, cancel, amend, revert; and backfills, which load usage of the past."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from meterlog.client import backfill, correction
from meterlog.client.asking import AsyncAsking
from meterlog.client.backfill import Backfill
from meterlog.client.correction import CancellationPreview, Choice, Correction, UsageName
from meterlog.client.corrections import DECISION_TIMEOUT_S
from meterlog.client.counting import answered
from meterlog.client.event import Number


class AsyncCorrections:
    """As `Corrections`, each call to be awaited."""

    def __init__(self, asking: AsyncAsking) -> None:
        self._asking = asking

    async def preview(self, which: Choice, *, timeout_s: float = DECISION_TIMEOUT_S) -> CancellationPreview:
        """What cancelling these usage events would do."""
        return await self._asking.one(correction.preview_cancellation(which), timeout_s)

    async def cancel(
        self,
        key: str,
        which: Choice,
        *,
        reason: str,
        decided_by: str = "",
        expected: CancellationPreview | None = None,
        wait: bool = True,
        timeout_s: float = DECISION_TIMEOUT_S,
    ) -> Correction:
        """Cancel usage events; a choice by filter needs the preview that was looked at as `expected`."""
        count, position = (expected.usage_event_count, expected.position) if expected else (0, 0)
        question = correction.cancel_usage(key, which, reason, decided_by, count, position)
        return await self._asking.one(answered(question, wait=wait), timeout_s)

    async def amend(
        self,
        key: str,
        name: UsageName,
        *,
        reason: str,
        decided_by: str = "",
        value: Number | None = None,
        properties: Mapping[str, Number] | None = None,
        wait: bool = True,
        timeout_s: float = DECISION_TIMEOUT_S,
    ) -> Correction:
        """Give one usage event another value or other properties, all of them; None keeps what counts now."""
        question = correction.amend_usage(key, name, reason, decided_by, value, properties)
        return await self._asking.one(answered(question, wait=wait), timeout_s)

    async def revert(
        self,
        key: str,
        *,
        reason: str,
        decided_by: str = "",
        wait: bool = True,
        timeout_s: float = DECISION_TIMEOUT_S,
    ) -> Correction:
        """Make it as though the correction had never been."""
        question = correction.revert_correction(key, reason, decided_by)
        return await self._asking.one(answered(question, wait=wait), timeout_s)

    async def get(self, key: str, *, timeout_s: float = DECISION_TIMEOUT_S) -> Correction:
        """The correction of that key."""
        return await self._asking.one(correction.one_correction(key), timeout_s)

    def list(self, *, timeout_s: float = DECISION_TIMEOUT_S) -> AsyncIterator[Correction]:
        """All corrections, newest first."""
        return self._asking.every(correction.every_correction(), timeout_s)

    async def open_backfill(
        self,
        key: str,
        *,
        reason: str,
        decided_by: str = "",
        replaces_existing: bool = False,
        start_at: datetime | None = None,
        end_at: datetime | None = None,
        subjects: Sequence[str] = (),
        types: Sequence[str] = (),
        timeout_s: float = DECISION_TIMEOUT_S,
    ) -> Backfill:
        """Hold back what is recorded for it, until it is closed."""
        question = backfill.open_backfill(
            *(key, reason, decided_by),
            replaces_existing=replaces_existing,
            start_at=start_at,
            end_at=end_at,
            subjects=subjects,
            types=types,
        )
        return await self._asking.one(question, timeout_s)

    async def close_backfill(
        self,
        key: str,
        *,
        reason: str,
        decided_by: str = "",
        expected_count: int = 0,
        wait: bool = True,
        timeout_s: float = DECISION_TIMEOUT_S,
    ) -> Backfill:
        """Let its usage count, and what it replaces not, all at once; `expected_count` above 0 is checked."""
        question = backfill.close_backfill(key, reason, decided_by, expected_count)
        return await self._asking.one(answered(question, wait=wait), timeout_s)

    async def revert_backfill(
        self,
        key: str,
        *,
        reason: str,
        decided_by: str = "",
        wait: bool = True,
        timeout_s: float = DECISION_TIMEOUT_S,
    ) -> Backfill:
        """Let its usage not count, for ever, and what it replaced count again."""
        question = backfill.revert_backfill(key, reason, decided_by)
        return await self._asking.one(answered(question, wait=wait), timeout_s)

    async def get_backfill(self, key: str, *, timeout_s: float = DECISION_TIMEOUT_S) -> Backfill:
        """The backfill of that key."""
        return await self._asking.one(backfill.one_backfill(key), timeout_s)

    def list_backfills(self, *, timeout_s: float = DECISION_TIMEOUT_S) -> AsyncIterator[Backfill]:
        """All backfills, newest first."""
        return self._asking.every(backfill.every_backfill(), timeout_s)

    @asynccontextmanager
    async def backfill(
        self,
        key: str,
        *,
        reason: str,
        decided_by: str = "",
        replaces_existing: bool = False,
        start_at: datetime | None = None,
        end_at: datetime | None = None,
        subjects: Sequence[str] = (),
        types: Sequence[str] = (),
    ) -> AsyncIterator[Backfill]:
        """A backfill that is closed when the block ends, and left open, counting nothing, when the block fails.

        Give its key to `record_batch`, `record_stream` or `record_columns`. After a failure run the same again: what
        was recorded is a duplicate. Or revert it.
        """
        yield await self.open_backfill(
            key,
            reason=reason,
            decided_by=decided_by,
            replaces_existing=replaces_existing,
            start_at=start_at,
            end_at=end_at,
            subjects=subjects,
            types=types,
        )
        await self.close_backfill(key, reason=reason, decided_by=decided_by)
