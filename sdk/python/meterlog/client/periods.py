"""Periods from threads: running totals, what was closed and restated, and closing by hand."""

from collections.abc import Iterator
from datetime import datetime

from meterlog.client import period as periods
from meterlog.client.asking import Asking
from meterlog.client.period import ClosedPeriod, Closing, PeriodUsage
from meterlog.client.usage_reader import READ_TIMEOUT_S

CLOSING_TIMEOUT_S = 120.0
"""All customers with usage in the period are counted before a closing is answered."""


class Periods:
    """Usage by hour, day, week, month, quarter or year of a time zone's calendar. All raise CallFailed."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def usage(
        self,
        subject: str,
        period: str = "month",
        *,
        at: datetime | None = None,
        time_zone: str = "UTC",
        min_position: int = 0,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> PeriodUsage:
        """A customer's totals in the period that holds `at` (now), running while it is open."""
        return self._asking.one(periods.period_usage(subject, period, at, time_zone, min_position), timeout_s)

    def closed(
        self,
        subject: str = "",
        period: str = "",
        *,
        only_restated: bool = False,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> Iterator[ClosedPeriod]:
        """Closed periods, newest first; of one customer, or of one kind, where given."""
        return self._asking.every(periods.closed_periods(subject, period, only_restated), timeout_s)

    def close(
        self,
        period: str,
        at: datetime,
        *,
        time_zone: str = "UTC",
        subject: str = "",
        timeout_s: float = CLOSING_TIMEOUT_S,
    ) -> Closing:
        """Close the period that holds `at`, without its grace period, for all with usage in it or for one customer.

        Safe to repeat.
        """
        return self._asking.one(periods.close_period(period, at, time_zone, subject), timeout_s)
