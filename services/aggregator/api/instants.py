"""Instants in requests."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from services.kernel.errors import InvalidInput
from services.kernel.timestamp import from_timestamp, is_in_range


def parse_instant(timestamp: Timestamp, field: str) -> datetime:
    """The instant of a timestamp that was sent; raises InvalidInput outside the years 1 to 9999."""
    if not is_in_range(timestamp):
        raise InvalidInput(f"{field} is outside the years 1 to 9999", field=field, reason="INSTANT_OUT_OF_RANGE")
    return from_timestamp(timestamp)


def instant_text(instant: datetime) -> str:
    """An instant in UTC as messages say it: ISO 8601 with "Z", to the second."""
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")


def missing(field: str) -> InvalidInput:
    """The refusal of a request without a required instant."""
    return InvalidInput(f"{field} is missing; send it", field=field, reason="FIELD_MISSING")
