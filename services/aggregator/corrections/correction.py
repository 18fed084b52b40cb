"""Corrections: what can be decided about one, as pure functions. Stream: correction-<key>."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from meterlog.events.v1.correction_pb2 import CorrectionReverted, UsageAmended, UsageCancelled
from services.aggregator.corrections.correction_rows import CorrectionEvent, Decided, no_correction
from services.aggregator.corrections.decision import Decision, require_decision
from services.aggregator.corrections.usage_filter import UsageFilter, filter_of
from services.eventstore.decider import Decider
from services.eventstore.event import StreamName
from services.kernel.errors import AlreadyExists

CATEGORY = "correction"


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction as its stream says; `reverted` is None while it holds."""

    decided: Decided
    reverted: CorrectionReverted | None = None


@dataclass(frozen=True, slots=True)
class CorrectionContent:
    """What a caller asked for, by which a repeat is recognised.

    `names` are pairs of source and id. None, and 0 for `until_position` and `expected_count`: not said.
    """

    names: tuple[tuple[str, str], ...]
    filter: UsageFilter | None
    is_cancellation: bool
    reason: str
    decided_by: str
    until_position: int = 0
    expected_count: int = 0
    value: str | None = None
    properties: Mapping[str, str] | None = None

    def is_of(self, decided: Decided) -> bool:
        """Whether a correction that was decided is what is asked for now."""
        said = (decided.decision.reason, decided.decision.decided_by) == (self.reason, self.decided_by)
        if isinstance(decided, UsageAmended):
            return said and not self.is_cancellation and self._is_amendment(decided)
        return said and self.is_cancellation and self._is_cancellation(decided)

    def _is_amendment(self, decided: UsageAmended) -> bool:
        properties = dict(decided.properties.properties) if decided.HasField("properties") else None
        asked = None if self.properties is None else dict(self.properties)
        name = (decided.usage_event.source, decided.usage_event.id)
        return self.names == (name,) and (self.value or "") == decided.value and asked == properties

    def _is_cancellation(self, decided: UsageCancelled) -> bool:
        names = tuple((each.source, each.id) for each in decided.usage_events)
        filters = filter_of(decided.filter) if decided.HasField("filter") else None
        return (
            names == self.names
            and _is_same_filter(self.filter, filters)
            and self.until_position in (0, decided.until_position)
            and self.expected_count in (0, decided.usage_event_count)
        )


@dataclass(frozen=True, slots=True)
class Correct:
    """Decide `event`, which says what `content` asks for."""

    event: Decided
    content: CorrectionContent


@dataclass(frozen=True, slots=True)
class Revert:
    """Revert the correction `key`."""

    key: str
    decision: Decision


CorrectionCommand: TypeAlias = Correct | Revert


def correction_stream(key: str) -> StreamName:
    """Where the events of a correction stand."""
    return StreamName(CATEGORY, key)


def require_same(correction: Correction, content: CorrectionContent) -> None:
    """Raises AlreadyExists when a correction of that key says something else."""
    if not content.is_of(correction.decided):
        raise AlreadyExists(
            f'correction "{correction.decided.key}" exists with other content; choose another key',
            reason="CORRECTION_EXISTS",
        )


def _decide(command: CorrectionCommand, correction: Correction | None) -> list[CorrectionEvent]:
    match command:
        case Correct():
            return _correct(command, correction)
        case Revert():
            return _revert(command, correction)


def _correct(command: Correct, correction: Correction | None) -> list[CorrectionEvent]:
    if correction is None:
        return [command.event]
    require_same(correction, command.content)
    return []


def _revert(command: Revert, correction: Correction | None) -> list[CorrectionEvent]:
    if correction is None:
        raise no_correction(command.key)
    if correction.reverted is not None:
        return []
    return [CorrectionReverted(key=command.key, decision=require_decision(command.decision).stored())]


def _evolve(correction: Correction | None, event: CorrectionEvent) -> Correction:
    if not isinstance(event, CorrectionReverted):
        return Correction(event)
    assert correction is not None, "a correction's stream begins with its decision"
    return Correction(correction.decided, event)


def _is_same_filter(asked: UsageFilter | None, decided: UsageFilter | None) -> bool:
    """A filter with a meter is stored with the meter's type, and with its filters behind its own."""
    if asked is None or decided is None or not asked.meter:
        return asked == decided
    own = decided.conditions[: len(asked.conditions)] == asked.conditions
    types = not asked.types or set(decided.types) <= set(asked.types)
    return own and types and _without_meant(asked) == _without_meant(decided)


def _without_meant(chooser: UsageFilter) -> tuple[object, ...]:
    times = (chooser.start_us, chooser.end_us, chooser.recorded_from_us, chooser.recorded_until_us)
    return (chooser.meter, chooser.subjects, chooser.sources, times)


CORRECTION: Decider[CorrectionCommand, Correction | None, CorrectionEvent] = Decider(None, _decide, _evolve)
