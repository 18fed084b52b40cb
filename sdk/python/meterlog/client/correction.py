"""Corrections of recorded usage as values, and the calls that preview, decide, revert and list them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from meterlog.aggregator.v1 import correction_pb2
from meterlog.client.condition import Condition, condition_messages, condition_of
from meterlog.client.counting import Counting, counting_of
from meterlog.client.errors import WrongValue
from meterlog.client.event import Number, number_text, timestamp
from meterlog.client.instant import instant_of
from meterlog.client.question import Pages, Question, correction_question

CORRECTIONS_PER_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class UsageName:
    """Names one recorded usage event; with its `position`, from a result, it is found faster."""

    source: str
    id: str
    position: int = 0


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Chooses recorded usage events: those for which all that is said holds. What is empty or None says nothing."""

    meter: str = ""
    types: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    start_at: datetime | None = None
    end_at: datetime | None = None
    recorded_from: datetime | None = None
    recorded_until: datetime | None = None
    conditions: tuple[Condition | str, ...] = ()


Choice = UsageFilter | Sequence[UsageName]
"""Which usage events: by a filter, or by name."""


@dataclass(frozen=True, slots=True)
class TotalChange:
    """The total of one meter and customer before and after; None where there is none."""

    meter: str
    subject: str
    old_value: Decimal | None
    new_value: Decimal | None


@dataclass(frozen=True, slots=True)
class CancellationPreview:
    """What a cancellation would hit; `usage_event_count` and `position` are what `cancel` wants to be told again."""

    usage_event_count: int
    share_millionths: int
    first_at: datetime | None
    last_at: datetime | None
    subject_count: int
    totals: tuple[TotalChange, ...]
    closed_period_count: int
    position: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decided, when and why; `position` is that of the log's event which says so."""

    reason: str
    decided_by: str
    key_name: str
    decided_at: datetime
    position: int


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction of recorded usage; `reverted` is None while it holds, `value` and `properties` None where kept.

    `counting` tells how far its count is; None when usage says already what was decided.
    """

    key: str
    is_cancellation: bool
    names: tuple[UsageName, ...]
    filter: UsageFilter | None
    value: Decimal | None
    properties: Mapping[str, str] | None
    usage_event_count: int
    until_position: int
    decision: Decision
    reverted: Decision | None
    counting: Counting | None = None


def preview_cancellation(which: Choice) -> Question[CancellationPreview]:
    """What cancelling these would do; raises WrongType or WrongValue."""
    request = correction_pb2.PreviewCancellationRequest(names=names_of(which), filter=filter_of(which))
    return correction_question("PreviewCancellation", request, correction_pb2.PreviewCancellationResponse, _preview)


def cancel_usage(
    key: str, which: Choice, reason: str, decided_by: str, expected_count: int, until_position: int
) -> Question[Correction]:
    """Cancel these; raises WrongType or WrongValue."""
    if isinstance(which, UsageFilter) and not expected_count:
        raise WrongValue("a choice by filter needs the preview that was looked at, and one that found usage events")
    request = correction_pb2.CancelUsageRequest(
        key=key,
        names=names_of(which),
        filter=filter_of(which),
        expected_count=expected_count,
        until_position=until_position,
        reason=reason,
        decided_by=decided_by,
    )
    return _decision("CancelUsage", request, correction_pb2.CancelUsageResponse)


def amend_usage(
    key: str,
    name: UsageName,
    reason: str,
    decided_by: str,
    value: Number | None,
    properties: Mapping[str, Number] | None,
) -> Question[Correction]:
    """Give a usage event another value, or other properties; raises WrongType or WrongValue."""
    if value is None and properties is None:
        raise WrongValue("an amendment needs a value or properties")
    request = correction_pb2.AmendUsageRequest(
        key=key,
        name=_name_message(name),
        value=None if value is None else number_text(value, "value"),
        properties=None if properties is None else _new_properties(properties),
        reason=reason,
        decided_by=decided_by,
    )
    return _decision("AmendUsage", request, correction_pb2.AmendUsageResponse)


def revert_correction(key: str, reason: str, decided_by: str) -> Question[Correction]:
    """Make it as though the correction had never been."""
    request = correction_pb2.RevertCorrectionRequest(key=key, reason=reason, decided_by=decided_by)
    return _decision("RevertCorrection", request, correction_pb2.RevertCorrectionResponse)


def one_correction(key: str) -> Question[Correction]:
    """The correction of that key."""
    return _decision(
        "GetCorrection", correction_pb2.GetCorrectionRequest(key=key), correction_pb2.GetCorrectionResponse
    )


def every_correction() -> Pages[Correction]:
    """All corrections, newest first."""
    request = correction_pb2.ListCorrectionsRequest(page_size=CORRECTIONS_PER_PAGE)
    response = correction_pb2.ListCorrectionsResponse
    return Pages(
        correction_question(
            "ListCorrections", request, response, lambda page: tuple(map(correction_of, page.corrections))
        )
    )


def decision_of(decision: correction_pb2.CorrectionDecision) -> Decision:
    """The decision of a message."""
    return Decision(
        decision.reason, decision.decided_by, decision.key_name, instant_of(decision.decided_at), decision.position
    )


def correction_of(correction: correction_pb2.Correction) -> Correction:
    """The correction of a message."""
    return Correction(
        key=correction.key,
        is_cancellation=correction.is_cancellation,
        names=tuple(UsageName(each.source, each.id, each.position) for each in correction.names),
        filter=_filter_value(correction.filter) if correction.HasField("filter") else None,
        value=Decimal(correction.value) if correction.HasField("value") else None,
        properties=dict(correction.properties.properties) if correction.HasField("properties") else None,
        usage_event_count=correction.usage_event_count,
        until_position=correction.until_position,
        decision=decision_of(correction.decision),
        reverted=decision_of(correction.reverted) if correction.HasField("reverted") else None,
        counting=counting_of(correction),
    )


def names_of(which: Choice) -> list[correction_pb2.UsageName] | None:
    """The names of a choice by name."""
    return None if isinstance(which, UsageFilter) else [_name_message(each) for each in which]


def filter_of(which: Choice) -> correction_pb2.UsageFilter | None:
    """The filter of a choice by filter; raises WrongType or WrongValue."""
    if not isinstance(which, UsageFilter):
        return None
    return correction_pb2.UsageFilter(
        meter=which.meter,
        types=which.types,
        subjects=which.subjects,
        sources=which.sources,
        start_at=None if which.start_at is None else timestamp(which.start_at, "start_at"),
        end_at=None if which.end_at is None else timestamp(which.end_at, "end_at"),
        recorded_from=None if which.recorded_from is None else timestamp(which.recorded_from, "recorded_from"),
        recorded_until=None if which.recorded_until is None else timestamp(which.recorded_until, "recorded_until"),
        conditions=condition_messages(which.conditions),
    )


_Bound = Literal["start_at", "end_at", "recorded_from", "recorded_until"]


def _filter_value(message: correction_pb2.UsageFilter) -> UsageFilter:
    def bound(name: _Bound) -> datetime | None:
        return instant_of(getattr(message, name)) if message.HasField(name) else None

    return UsageFilter(
        message.meter,
        tuple(message.types),
        tuple(message.subjects),
        tuple(message.sources),
        bound("start_at"),
        bound("end_at"),
        bound("recorded_from"),
        bound("recorded_until"),
        tuple(map(condition_of, message.conditions)),
    )


def _decision(method: str, request: "_DecisionRequest", response: "type[_DecisionResponse]") -> Question[Correction]:
    return correction_question(method, request, response, lambda answer: correction_of(answer.correction))


_DecisionRequest = (
    correction_pb2.CancelUsageRequest
    | correction_pb2.AmendUsageRequest
    | correction_pb2.RevertCorrectionRequest
    | correction_pb2.GetCorrectionRequest
)
_DecisionResponse = (
    correction_pb2.CancelUsageResponse
    | correction_pb2.AmendUsageResponse
    | correction_pb2.RevertCorrectionResponse
    | correction_pb2.GetCorrectionResponse
)


def _preview(preview: correction_pb2.PreviewCancellationResponse) -> CancellationPreview:
    return CancellationPreview(
        preview.usage_event_count,
        preview.share_millionths,
        instant_of(preview.first_at) if preview.HasField("first_at") else None,
        instant_of(preview.last_at) if preview.HasField("last_at") else None,
        preview.subject_count,
        tuple(map(_total_change, preview.totals)),
        preview.closed_period_count,
        preview.position,
    )


def _total_change(change: correction_pb2.TotalChange) -> TotalChange:
    return TotalChange(
        change.meter,
        change.subject,
        Decimal(change.old_value) if change.HasField("old_value") else None,
        Decimal(change.new_value) if change.HasField("new_value") else None,
    )


def _name_message(name: UsageName) -> correction_pb2.UsageName:
    return correction_pb2.UsageName(source=name.source, id=name.id, position=name.position)


def _new_properties(properties: Mapping[str, Number]) -> correction_pb2.NewProperties:
    texts = {key: number_text(value, f"properties.{key}") for key, value in properties.items()}
    return correction_pb2.NewProperties(properties=texts)
