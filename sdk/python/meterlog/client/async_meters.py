"""Meters from an event loop: create, preview, redefine, update, archive and list them."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from meterlog.client import meter as questions
from meterlog.client.asking import AsyncAsking
from meterlog.client.counting import CountingState, answered, counting_state
from meterlog.client.counting_wait import WAIT_TIMEOUT_S, OnProgress, wait_until_counted_async
from meterlog.client.meter import Meter, MeterPreview
from meterlog.client.meters import COUNTING_TIMEOUT_S
from meterlog.client.usage_reader import READ_TIMEOUT_S


class AsyncMeters:
    """As `Meters`, each call to be awaited."""

    def __init__(self, asking: AsyncAsking) -> None:
        self._asking = asking

    async def create(self, meter: Meter, *, wait: bool = True, timeout_s: float = COUNTING_TIMEOUT_S) -> Meter:
        """Create a meter, which counts earlier usage, too: before this returns, or, without `wait`, afterwards.

        Safe to repeat with the same definition.
        """
        return await self._asking.one(answered(questions.create_meter(meter), wait=wait), timeout_s)

    async def preview(
        self,
        meter: Meter,
        start_at: datetime,
        end_at: datetime,
        *,
        subjects: Sequence[str] = (),
        effective_from: datetime | None = None,
        timeout_s: float = COUNTING_TIMEOUT_S,
    ) -> MeterPreview:
        """What a meter, new or redefined, would say of [start_at, end_at), beside what it says now. Writes nothing."""
        question = questions.preview_meter(meter, start_at, end_at, subjects, effective_from)
        return await self._asking.one(question, timeout_s)

    async def redefine(
        self,
        meter: Meter,
        *,
        expected_version: int,
        effective_from: datetime | None = None,
        wait: bool = True,
        timeout_s: float = COUNTING_TIMEOUT_S,
    ) -> Meter:
        """Let a meter count as said, from the start of a UTC hour on, or always.

        `expected_version` is the version that was seen: `dataclasses.replace(seen, …)` and `seen.version`.
        """
        question = questions.redefine_meter(meter, expected_version, effective_from)
        return await self._asking.one(answered(question, wait=wait), timeout_s)

    async def update(
        self,
        slug: str,
        *,
        display_name: str | None = None,
        unit: str | None = None,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> Meter:
        """As `Meters.update`."""
        return await self._asking.one(questions.update_meter(slug, display_name, unit), timeout_s)

    async def archive(self, slug: str, *, timeout_s: float = READ_TIMEOUT_S) -> Meter:
        """Keep a meter out of new plans; it goes on counting. Safe to repeat."""
        return await self._asking.one(questions.archive_meter(slug), timeout_s)

    async def get(self, slug: str, *, timeout_s: float = READ_TIMEOUT_S) -> Meter:
        """The meter of that slug."""
        return await self._asking.one(questions.one_meter(slug), timeout_s)

    def list(self, *, include_archived: bool = False, timeout_s: float = READ_TIMEOUT_S) -> AsyncIterator[Meter]:
        """All meters, by slug."""
        return self._asking.every(questions.every_meter(include_archived), timeout_s)

    async def versions(self, slug: str, *, timeout_s: float = READ_TIMEOUT_S) -> tuple[Meter, ...]:
        """What a meter said over time, oldest version first."""
        return await self._asking.one(questions.versions_of_meter(slug), timeout_s)

    async def counting(self, *, timeout_s: float = READ_TIMEOUT_S) -> CountingState:
        """How far usage is counted, and how far the count of earlier usage is that runs."""
        return await self._asking.one(counting_state(), timeout_s)

    async def wait(
        self, position: int, *, timeout_s: float = WAIT_TIMEOUT_S, on_progress: OnProgress | None = None
    ) -> None:
        """Return when usage is counted up to a log position: that of a `counting`, or of a STILL_COUNTING failure."""
        await wait_until_counted_async(self._asking, position, timeout_s, on_progress)
