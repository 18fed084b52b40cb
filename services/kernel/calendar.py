"""Half-open spans of time, and the windows and months that tile them in any time zone.

Windows never overlap and leave no gap, on days of 23 and 25 hours, half-hour shifts and days that never were.
A local midnight that does not exist is the instant of the shift; one that occurs twice is the first.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.kernel.errors import InvalidInput

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
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


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


def windows(span: Span, window: Window, zone: ZoneInfo) -> Iterator[Span]:
    """The windows that tile `span`, in order; the first and the last are cut at its ends."""
    if window is Window.NONE:
        yield span
        return
    next_boundary = _NEXT_BOUNDARY[window]
    start = span.start
    while start < span.end:
        end = min(next_boundary(start, zone), span.end)
        yield Span(start, end)
        start = end


def month_of(instant: datetime, zone: ZoneInfo) -> Span:
    """The calendar month of the zone that holds `instant`."""
    first = instant.astimezone(zone).date().replace(day=1)
    while (end := _midnight(_next_month(first), zone)) <= instant:
        first = _next_month(first)
    return Span(_midnight(first, zone), end)


def months(start: datetime, zone: ZoneInfo) -> Iterator[Span]:
    """The calendar months of the zone, from the one that holds `start`, for ever."""
    month = month_of(start, zone)
    while True:
        yield month
        month = Span(month.end, _next_month_boundary(month.end, zone))


def _next_hour_boundary(after: datetime, zone: ZoneInfo) -> datetime:
    local = after.astimezone(zone)
    past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return after + (timedelta(hours=1) - past)


def _next_day_boundary(after: datetime, zone: ZoneInfo) -> datetime:
    day = after.astimezone(zone).date() + timedelta(days=1)
    while (midnight := _midnight(day, zone)) <= after:
        day += timedelta(days=1)
    return midnight


def _next_month_boundary(after: datetime, zone: ZoneInfo) -> datetime:
    first = _next_month(after.astimezone(zone).date())
    while (midnight := _midnight(first, zone)) <= after:
        first = _next_month(first)
    return midnight


_NEXT_BOUNDARY: dict[Window, Callable[[datetime, ZoneInfo], datetime]] = {
    Window.HOUR: _next_hour_boundary,
    Window.DAY: _next_day_boundary,
    Window.MONTH: _next_month_boundary,
}


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    wall = datetime.combine(day, time.min)
    instant = wall.replace(tzinfo=zone).astimezone(UTC)
    is_on_clock = instant.astimezone(zone).replace(tzinfo=None) == wall
    return instant if is_on_clock else _shift_over(wall, zone)


def _shift_over(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant at which the zone's clock jumps over `wall`, found by halving; shifts happen on whole seconds."""
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    offset_before = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == offset_before:
            before = middle
        else:
            after = middle
    return after


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)
