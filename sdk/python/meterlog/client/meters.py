"""Meters from threads: create, preview, redefine, update, archive and list them."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from meterlog.client import meter as questions
from meterlog.client.asking import Asking
from meterlog.client.counting import CountingState, answered, counting_state
from meterlog.client.counting_wait import WAIT_TIMEOUT_S, OnProgress, wait_until_counted
from meterlog.client.meter import Meter, MeterPreview
from meterlog.client.usage_reader import READ_TIMEOUT_S

COUNTING_TIMEOUT_S = 600.0
"""All usage of the log is counted before a new definition is answered."""


class Meters:
    """What is metered, and how. All raise CallFailed, and WrongType or WrongValue for what cannot be sent."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def create(self, meter: Meter, *, wait: bool = True, timeout_s: float = COUNTING_TIMEOUT_S) -> Meter:
        """Create a meter, which counts earlier usage, too: before this returns, or, without `wait`, afterwards.

        Safe to repeat with the same definition.
        """
        return self._asking.one(answered(questions.create_meter(meter), wait=wait), timeout_s)

    def preview(
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
        return self._asking.one(question, timeout_s)

    def redefine(
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
        return self._asking.one(answered(question, wait=wait), timeout_s)

    def update(
        self,
        slug: str,
        *,
        display_name: str | None = None,
        unit: str | None = None,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> Meter:
        """Change what people read about a meter; None keeps what is there. Nothing is counted anew. Safe to repeat."""
        return self._asking.one(questions.update_meter(slug, display_name, unit), timeout_s)

    def archive(self, slug: str, *, timeout_s: float = READ_TIMEOUT_S) -> Meter:
        """Keep a meter out of new plans; it goes on counting. Safe to repeat."""
        return self._asking.one(questions.archive_meter(slug), timeout_s)

    def get(self, slug: str, *, timeout_s: float = READ_TIMEOUT_S) -> Meter:
        """The meter of that slug."""
        return self._asking.one(questions.one_meter(slug), timeout_s)

    def list(self, *, include_archived: bool = False, timeout_s: float = READ_TIMEOUT_S) -> Iterator[Meter]:
        """All meters, by slug."""
        return self._asking.every(questions.every_meter(include_archived), timeout_s)

    def versions(self, slug: str, *, timeout_s: float = READ_TIMEOUT_S) -> tuple[Meter, ...]:
        """What a meter said over time, oldest version first."""
        return self._asking.one(questions.versions_of_meter(slug), timeout_s)

    def counting(self, *, timeout_s: float = READ_TIMEOUT_S) -> CountingState:
        """How far usage is counted, and how far the count of earlier usage is that runs."""
        return self._asking.one(counting_state(), timeout_s)

    def wait(self, position: int, *, timeout_s: float = WAIT_TIMEOUT_S, on_progress: OnProgress | None = None) -> None:
        """Return when usage is counted up to a log position: that of a `counting`, or of a STILL_COUNTING failure."""
        wait_until_counted(self._asking, position, timeout_s, on_progress)
