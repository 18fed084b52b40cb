"""Reads instants as RFC 3339 writes them, such as "2024-01-31T12:00:00.123Z": exact to the last digit that counts."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

_INSTANT: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,100}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-5][0-9]))"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NANO_DIGITS: Final = 9


def seconds_and_nanos(text: str) -> tuple[int, int]:
    """Seconds since 1970-01-01 UTC and nanoseconds, finer digits cut off.

    Raises ValueError for anything else, so also for a leap second, which the seconds of Unix have no place for.
    """
    found = _INSTANT.fullmatch(text)
    if found is None:
        raise ValueError("no instant of RFC 3339")
    *parts, fraction, sign, hours, minutes = found.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    year, month, day, hour, minute, second = map(int, parts)
    try:
        zone = timezone(-offset if sign == "-" else offset)
        local = datetime(year, month, day, hour, minute, second, tzinfo=zone)
    except ValueError as error:
        raise ValueError(f"no instant of RFC 3339: {error}") from error
    since = local - _EPOCH
    return since.days * 86_400 + since.seconds, int((fraction or "0")[:_NANO_DIGITS].ljust(_NANO_DIGITS, "0"))
