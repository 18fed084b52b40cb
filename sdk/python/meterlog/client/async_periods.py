"""Periods from an event loop: running totals, what was closed and restated, and closing by hand."""

from collections.abc import AsyncIterator
from datetime import datetime

from meterlog.client import period as periods
from meterlog.client.asking import AsyncAsking
from meterlog.client.period import ClosedPeriod, Closing, PeriodUsage
from meterlog.client.periods import CLOSING_TIMEOUT_S
from meterlog.client.usage_reader import READ_TIMEOUT_S


class AsyncPeriods:
    """As `Periods`, each call to be awaited."""

    def __init__(self, asking: AsyncAsking) -> None:
        self._asking = asking

    async def usage(
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
        return await self._asking.one(periods.period_usage(subject, period, at, time_zone, min_position), timeout_s)

    def closed(
        self,
        subject: str = "",
        period: str = "",
        *,
        only_restated: bool = False,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> AsyncIterator[ClosedPeriod]:
        """Closed periods, newest first; of one customer, or of one kind, where given."""
        return self._asking.every(periods.closed_periods(subject, period, only_restated), timeout_s)

    async def close(
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
        return await self._asking.one(periods.close_period(period, at, time_zone, subject), timeout_s)
