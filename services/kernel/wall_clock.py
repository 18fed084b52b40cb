"""What a clock on the wall of a time zone shows, and the instants at which it is set."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_SECOND = timedelta(seconds=1)
_INSTANT = timedelta(microseconds=1)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The instant at which the clock first shows the beginning of `day`, in UTC.

    A midnight that the clock jumps over, alone or with its whole day, is the instant of the jump.
    """
    wall = datetime.combine(day, time.min)
    instant = wall.replace(tzinfo=zone).astimezone(UTC)
    is_on_clock = instant.astimezone(zone).replace(tzinfo=None) == wall
    return instant if is_on_clock else _jump_over(wall, zone)


def turns_around(instant: datetime, length: timedelta, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """From when until when the clock runs on without being set while it shows the same hour, or the same minute.

    `length` is an hour or a minute; the instants returned are in UTC, and `instant` lies between them.
    """
    start = instant - _past(instant.astimezone(zone), length)
    end = start + length
    offset = instant.astimezone(zone).utcoffset()
    if start.astimezone(zone).utcoffset() != offset:
        start = _set_between(start, instant, zone)
    if (end - _INSTANT).astimezone(zone).utcoffset() != offset:
        end = _set_between(instant, end, zone)
    return start.astimezone(UTC), end.astimezone(UTC)


def _past(local: datetime, length: timedelta) -> timedelta:
    """How far the clock is behind its last full hour, or minute."""
    since_hour = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return since_hour % length


def _jump_over(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant at which the clock jumps over `wall`."""
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return _set_between(before, after, zone)


def _set_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first instant behind `before` at which the clock is set, by halving: clocks are set on whole seconds."""
    before, after = before.replace(microsecond=0), _ceil_second(after)
    offset_before = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).utcoffset() == offset_before:
            before = middle
        else:
            after = middle
    return after


def _ceil_second(instant: datetime) -> datetime:
    whole = instant.replace(microsecond=0)
    return whole if whole == instant else whole + _SECOND
