"""The periods that may be open for somebody, remembered until they are closed. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.aggregator.periods.period import is_over
from services.aggregator.periods.period_kind import PeriodKind
from services.kernel.calendar import Span, Window
from services.kernel.clock import from_epoch_us

REACHES = {Window.HOUR: timedelta(days=31), Window.DAY: timedelta(days=400), Window.WEEK: timedelta(days=400)}
"""How long ago a period may have ended to close by itself; longer periods close however long ago it was."""


_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class OpenPeriod:
    """A period, and the part of it that there is news about."""

    kind: PeriodKind
    span: Span
    news: Span


class OpenPeriods:
    """Periods of some kinds with usage that nobody is known to have closed for all its subjects."""

    def __init__(self, kinds: Sequence[PeriodKind], grace: timedelta) -> None:
        self._kinds = kinds
        self._grace = grace
        self._open: dict[tuple[Span, PeriodKind], Span] = {}

    def note(self, hours_us: Iterable[int], now: datetime) -> None:
        """There is news about usage in these UTC hours; what ended too long ago is left to be closed by hand."""
        for hour_us in hours_us:
            start = from_epoch_us(hour_us)
            for kind in self._kinds:
                for period in kind.periods_of_hour(hour_us):
                    if not _is_out_of_reach(kind, period, now):
                        self._widen(OpenPeriod(kind, period, Span(start, start + _HOUR)))

    def due(self, now: datetime) -> list[OpenPeriod]:
        """What may close now, the one that ended first first."""
        over = [OpenPeriod(kind, span, news) for (span, kind), news in self._open.items()]
        due = (period for period in over if is_over(period.span, self._grace, now))
        return sorted(due, key=lambda period: (period.span.end, period.span.start, period.kind))

    def closed(self, period: OpenPeriod) -> None:
        """It is closed for everybody with usage in it, until there is news about it."""
        self._open.pop((period.span, period.kind), None)

    def _widen(self, period: OpenPeriod) -> None:
        """Keep within the period what there is news about, together with what is known already."""
        news = Span(max(period.span.start, period.news.start), min(period.span.end, period.news.end))
        known = self._open.get((period.span, period.kind), news)
        self._open[period.span, period.kind] = Span(min(known.start, news.start), max(known.end, news.end))


def _is_out_of_reach(kind: PeriodKind, period: Span, now: datetime) -> bool:
    reach = REACHES.get(kind.length)
    return reach is not None and period.end < now - reach
