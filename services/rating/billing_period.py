"""The billing periods of a subscription: calendar months in the customer's time zone, without gap or overlap."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from services.kernel.calendar import Span, month_of
from services.kernel.errors import InvalidInput
from services.kernel.ids import derived_uuid

START_YEAR_MIN = 2000
START_YEAR_MAX = 2199

_INTO_THE_MONTH = timedelta(days=2)


def require_month_start(start_at: datetime, zone: ZoneInfo, field: str) -> datetime:
    """`start_at`, when a calendar month of the zone begins there; raises InvalidInput that names the nearest two."""
    if not START_YEAR_MIN <= start_at.year <= START_YEAR_MAX:
        raise InvalidInput(
            f"{field} is in the year {start_at.year}; use one from {START_YEAR_MIN} to {START_YEAR_MAX}",
            field=field,
            reason="START_OUT_OF_RANGE",
        )
    month = month_of(start_at, zone)
    if start_at != month.start:
        raise InvalidInput(
            f"{field} is {_text(start_at)}, where no month begins in {zone.key}; "
            f"the nearest that do are {_text(month.start)} and {_text(month.end)}",
            field=field,
            reason="NOT_A_MONTH_START",
        )
    return start_at


def period_from(start_at: datetime, zone: ZoneInfo) -> Span:
    """The billing period that begins at `start_at`, the end of the one before: to the end of the month.

    Periods tile even when the zone's rules were changed since, and the month now begins some hours off `start_at`.
    """
    return Span(start_at, month_of(start_at + _INTO_THE_MONTH, zone).end)


def end_when_cancelled(start_at: datetime, zone: ZoneInfo, now: datetime) -> datetime:
    """The end of the billing period that holds `now`; before the first one the start, so that nothing is billed."""
    return start_at if now < start_at else month_of(now, zone).end


def is_over(period: Span, grace: timedelta, now: datetime) -> bool:
    """Whether the period's end and the grace period behind it have passed."""
    return now >= period.end + grace


def invoice_id(subscription: str, period_start: datetime) -> str:
    """The id of the one invoice of a subscription's period: the same again, whoever drafts it, however often."""
    return str(derived_uuid(period_start, subscription, _text(period_start)))


def _text(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
