"""Half-open spans of time, and the windows of the calendar that tile them in any time zone.

Windows never overlap and leave no gap, on days of 23 and 25 hours, half-hour shifts and days that never were.
A local midnight that does not exist is the instant of the shift; one that occurs twice is the first. An hour and a
minute end when the clock on the wall shows the next one, or is set: so hours tile days wherever a clock is set.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.kernel.errors import InvalidInput
from services.kernel.wall_clock import midnight, turns_around

# Names that a machine may resolve as well, each machine in its own way.
_ZONES_OF_THE_MACHINE = frozenset({"localtime", "posixrules", "Factory"})
_ZONE_FOLDERS = ("posix/", "right/")


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The instants t with start <= t < end, both aware and in UTC."""

    start: datetime
    end: datetime

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end


class Window(StrEnum):
    """Length of the fixed slices that usage is reported in."""

    NONE = "none"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


def time_zone(name: str, field: str = "time_zone") -> ZoneInfo:
    """The zone of an IANA name; raises InvalidInput for any other text."""
    try:
        if name not in _ZONES_OF_THE_MACHINE and not name.startswith(_ZONE_FOLDERS):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise InvalidInput(
        f'{field} is "{name[:60]}"; use an IANA time zone such as "Europe/Berlin"',
        field=field,
        reason="UNKNOWN_TIME_ZONE",
    )


def period_of(kind: Window, instant: datetime, zone: ZoneInfo) -> Span:
    """The minute, hour, day, week (from Monday), month, quarter or year of the zone's calendar that holds `instant`.

    Raises OverflowError or ValueError at the very ends of the calendar, the years 1 and 9999.
    """
    if kind in _LENGTHS:
        return Span(*turns_around(instant, _LENGTHS[kind], zone))
    unit = _UNITS[kind]
    first = unit.first_day(instant.astimezone(zone).date())
    while (end := midnight(unit.next_first_day(first), zone)) <= instant:
        first = unit.next_first_day(first)
    return Span(midnight(first, zone), end)


def periods(kind: Window, start: datetime, zone: ZoneInfo) -> Iterator[Span]:
    """The periods of one kind, from the one that holds `start`, for ever."""
    period = period_of(kind, start, zone)
    while True:
        yield period
        period = period_of(kind, period.end, zone)


def windows(span: Span, window: Window, zone: ZoneInfo) -> Iterator[Span]:
    """The windows that tile `span`, in order; the first and the last are cut at its ends."""
    if window is Window.NONE:
        yield span
        return
    start = span.start
    while start < span.end:
        end = min(period_of(window, start, zone).end, span.end)
        yield Span(start, end)
        start = end


def month_of(instant: datetime, zone: ZoneInfo) -> Span:
    """The calendar month of the zone that holds `instant`."""
    return period_of(Window.MONTH, instant, zone)


def months(start: datetime, zone: ZoneInfo) -> Iterator[Span]:
    """The calendar months of the zone, from the one that holds `start`, for ever."""
    return periods(Window.MONTH, start, zone)


_LENGTHS = {Window.MINUTE: timedelta(minutes=1), Window.HOUR: timedelta(hours=1)}


@dataclass(frozen=True, slots=True)
class _Unit:
    """Whole days that belong together: the first day of the unit that holds a day, and the first one after it."""

    first_day: Callable[[date], date]
    next_first_day: Callable[[date], date]


def _first_of(months_long: int) -> Callable[[date], date]:
    return lambda day: date(day.year, (day.month - 1) // months_long * months_long + 1, 1)


def _months_later(count: int) -> Callable[[date], date]:
    return lambda first: date(first.year + (first.month - 1 + count) // 12, (first.month - 1 + count) % 12 + 1, 1)


_UNITS = {
    Window.DAY: _Unit(lambda day: day, lambda day: day + timedelta(days=1)),
    Window.WEEK: _Unit(lambda day: day - timedelta(days=day.weekday()), lambda monday: monday + timedelta(days=7)),
    Window.MONTH: _Unit(_first_of(1), _months_later(1)),
    Window.QUARTER: _Unit(_first_of(3), _months_later(3)),
    Window.YEAR: _Unit(_first_of(12), _months_later(12)),
}
