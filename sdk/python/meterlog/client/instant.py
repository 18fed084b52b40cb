"""Instants of the contracts as aware datetimes."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant_of(stamp: Timestamp) -> datetime:
    """The instant, in UTC; digits below a microsecond are cut off."""
    return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
