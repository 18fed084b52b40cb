"""Instants and lengths of time as people type them on a command line or into a file."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from services.kernel.errors import InvalidInput
from services.kernel.timestamp import from_timestamp

INSTANT_RULE: Final = 'an ISO 8601 instant with its offset, such as "2026-01-31T00:00:00Z"'
LENGTH_RULE: Final = 'a whole number and s, m, h or d, such as "90m"'

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LENGTH = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_instant(text: str, field: str) -> datetime:
    """The aware UTC instant of an ISO 8601 text with an offset; raises InvalidInput that names `field`."""
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            raise ValueError
        return instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f'{field} is "{text[:60]}"; write {INSTANT_RULE}', field=field, reason="NOT_AN_INSTANT"
        ) from error


def parse_length(text: str, field: str) -> timedelta:
    """The length of time of a text such as "90m"; raises InvalidInput that names `field`."""
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise InvalidInput(f'{field} is "{text[:60]}"; write {LENGTH_RULE}', field=field, reason="NOT_A_LENGTH")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def instant_text(instant: datetime, zone: ZoneInfo | None = None) -> str:
    """ISO 8601 in the zone (default UTC), "Z" where it is UTC, digits below a second only where there are any."""
    text = instant.astimezone(zone or UTC).isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def timestamp_text(timestamp: Timestamp) -> str:
    """`instant_text` of a protobuf timestamp."""
    return instant_text(from_timestamp(timestamp))


def parse_day_or_instant(text: str, zone: ZoneInfo, field: str) -> datetime:
    """An instant, or for a day such as "2026-01-31" its first instant in the zone; raises InvalidInput."""
    if _DAY.fullmatch(text) is None:
        return parse_instant(text, field)
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            f'{field} is "{text}"; there is no such day', field=field, reason="NOT_AN_INSTANT"
        ) from error
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)
