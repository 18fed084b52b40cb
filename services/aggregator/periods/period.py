"""The usage of one subject in one period: when it closes, when it is restated, and what is said then. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from meterlog.events.v1.meter_pb2 import PeriodTotal, RestatedTotal, UsagePeriodClosed, UsagePeriodRestated
from services.aggregator.periods.period_kind import UTC, PeriodKind
from services.eventstore.decider import Decider
from services.eventstore.event import Position, StreamName
from services.kernel.calendar import Span
from services.kernel.timestamp import to_timestamp


@dataclass(frozen=True, slots=True)
class PeriodUsage:
    """The usage of one subject in one period, by meter slug, counted up to a log position."""

    subject: str
    kind: PeriodKind
    span: Span
    totals: Mapping[str, str]
    position: Position


@dataclass(frozen=True, slots=True)
class StatePeriod:
    """Say what the usage of a period is that is over: close it, or restate it when it is closed already."""

    usage: PeriodUsage
    at: datetime


@dataclass(frozen=True, slots=True)
class PeriodStatement:
    """What was said last of a closed period: totals by slug, counted up to a log position, and how often restated."""

    totals: Mapping[str, str]
    position: Position
    restatements: int


PeriodEvent = UsagePeriodClosed | UsagePeriodRestated


def is_over(period: Span, grace: timedelta, now: datetime) -> bool:
    """Whether a period's end and the grace period behind it have passed."""
    return now >= period.end + grace


def period_stream(subject: str, kind: PeriodKind, period: Span) -> StreamName:
    """The stream of one subject's period. It begins with one closing, so a period closes once."""
    return StreamName("period", f"{subject}/{kind.key}/{period.start.isoformat()}")


def _decide(command: StatePeriod, stated: PeriodStatement | None) -> list[PeriodEvent]:
    if stated is None:
        return [_closed(command.usage, command.at)]
    changed = _changed_totals(stated.totals, command.usage.totals)
    return [_restated(command, stated, changed)] if changed else []


def _closed(usage: PeriodUsage, at: datetime) -> UsagePeriodClosed:
    totals = [PeriodTotal(meter=meter, quantity=quantity) for meter, quantity in sorted(usage.totals.items())]
    return UsagePeriodClosed(
        subject=usage.subject,
        period=usage.kind.length,
        time_zone=_stored_zone(usage.kind),
        start_at=to_timestamp(usage.span.start),
        end_at=to_timestamp(usage.span.end),
        position=usage.position,
        totals=totals,
        closed_at=to_timestamp(at),
    )


def _restated(command: StatePeriod, stated: PeriodStatement, changed: list[RestatedTotal]) -> UsagePeriodRestated:
    usage = command.usage
    return UsagePeriodRestated(
        subject=usage.subject,
        period=usage.kind.length,
        time_zone=_stored_zone(usage.kind),
        start_at=to_timestamp(usage.span.start),
        end_at=to_timestamp(usage.span.end),
        restatement=stated.restatements + 1,
        previous_position=stated.position,
        position=usage.position,
        totals=changed,
        restated_at=to_timestamp(command.at),
    )


def _changed_totals(old: Mapping[str, str], new: Mapping[str, str]) -> list[RestatedTotal]:
    """By slug; an empty quantity says that there is none."""
    return [
        RestatedTotal(meter=meter, old_quantity=old.get(meter, ""), new_quantity=new.get(meter, ""))
        for meter in sorted(old.keys() | new.keys())
        if old.get(meter, "") != new.get(meter, "")
    ]


def _stored_zone(kind: PeriodKind) -> str:
    return "" if kind.zone == UTC else kind.zone


def _evolve(stated: PeriodStatement | None, event: PeriodEvent) -> PeriodStatement:
    if isinstance(event, UsagePeriodClosed):
        totals = {total.meter: total.quantity for total in event.totals}
        return PeriodStatement(totals, Position(event.position), 0)
    assert stated is not None, "a period's stream begins with UsagePeriodClosed"
    news = {total.meter: total.new_quantity for total in event.totals}
    totals = {meter: quantity for meter, quantity in {**stated.totals, **news}.items() if quantity}
    return replace(stated, totals=totals, position=Position(event.position), restatements=event.restatement)


PERIOD: Decider[StatePeriod, PeriodStatement | None, PeriodEvent] = Decider(None, _decide, _evolve)
