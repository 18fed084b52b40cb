"""When a period closes, and what closing it says. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from meterlog.events.v1.meter_pb2 import PeriodTotal, UsagePeriodClosed
from services.eventstore.event import Position, StreamName
from services.kernel.calendar import Span
from services.kernel.timestamp import to_timestamp

MONTH = "month"


@dataclass(frozen=True, slots=True)
class PeriodUsage:
    """The usage of one subject in one period, by meter slug, counted up to a log position."""

    subject: str
    span: Span
    totals: Mapping[str, str]
    position: Position


def is_due(period: Span, grace: timedelta, now: datetime) -> bool:
    """Whether a period may close: its end and the grace period behind it have passed."""
    return now >= period.end + grace


def period_stream(subject: str, period: Span) -> StreamName:
    """The stream of one subject's period; it takes one closing, so a period closes once."""
    return StreamName("period", f"{subject}/{MONTH}/{period.start.isoformat()}")


def closing(usage: PeriodUsage, now: datetime) -> UsagePeriodClosed:
    """The event that closes a period, totals by slug."""
    totals = [PeriodTotal(meter=meter, quantity=quantity) for meter, quantity in sorted(usage.totals.items())]
    return UsagePeriodClosed(
        subject=usage.subject,
        period=MONTH,
        start_at=to_timestamp(usage.span.start),
        end_at=to_timestamp(usage.span.end),
        position=usage.position,
        totals=totals,
        closed_at=to_timestamp(now),
    )
