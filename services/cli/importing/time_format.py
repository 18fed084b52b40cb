"""How files write instants, and the exact instant of each text; digits below a microsecond are cut off."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,30})?")


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """One way to write an instant: its name in a mapping, what it looks like, and how it is read.

    `read` takes the text and the zone of texts that name none, and gives UTC; it raises ValueError or OverflowError.
    """

    name: str
    example: str
    read: Callable[[str, ZoneInfo], datetime]


def _iso8601(text: str, zone: ZoneInfo) -> datetime:
    instant = datetime.fromisoformat(text)
    return (instant.replace(tzinfo=zone) if instant.tzinfo is None else instant).astimezone(UTC)


def _unix_seconds(text: str, _zone: ZoneInfo) -> datetime:
    return _since_1970(text, 6)


def _unix_milliseconds(text: str, _zone: ZoneInfo) -> datetime:
    return _since_1970(text, 3)


def _since_1970(text: str, digits_to_microseconds: int) -> datetime:
    if _NUMBER.fullmatch(text) is None:
        raise ValueError("not a decimal number")
    return _EPOCH + timedelta(microseconds=int(Decimal(text).scaleb(digits_to_microseconds)))


TIME_FORMATS: dict[str, TimeFormat] = {
    each.name: each
    for each in (
        TimeFormat("iso8601", "2023-11-16 18:15:46.6805900", _iso8601),
        TimeFormat("unix_seconds", "1700158546.68059", _unix_seconds),
        TimeFormat("unix_milliseconds", "1700158546680.59", _unix_milliseconds),
    )
}
