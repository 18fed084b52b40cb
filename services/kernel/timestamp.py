"""Instants between Python and protobuf, microsecond precision."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from services.kernel.clock import epoch_us, from_epoch_us

_SECONDS_MIN = -62_135_596_800  # 0001-01-01T00:00:00Z
_SECONDS_MAX = 253_402_300_799  # 9999-12-31T23:59:59Z


def to_timestamp(instant: datetime) -> Timestamp:
    """The protobuf timestamp of an aware instant."""
    seconds, rest = divmod(epoch_us(instant), 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def from_timestamp(timestamp: Timestamp) -> datetime:
    """The aware UTC instant; digits below a microsecond are cut off. The timestamp must be in range."""
    return from_epoch_us(timestamp.seconds * 1_000_000 + timestamp.nanos // 1000)


def is_in_range(timestamp: Timestamp) -> bool:
    """Whether the timestamp is one that protobuf and Python can both hold: years 1 to 9999."""
    return _SECONDS_MIN <= timestamp.seconds <= _SECONDS_MAX and 0 <= timestamp.nanos < 1_000_000_000
