"""The range of time that a command is asked about."""

from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from services.cli.clock import read_clock
from services.cli.connection import Services
from services.cli.failure import misused
from services.cli.instants import parse_day_or_instant
from services.kernel.calendar import Span, month_of, time_zone
from services.kernel.timestamp import to_timestamp


def span_of(services: Services, start: str, end: str, zone: ZoneInfo) -> Span:
    """The range that was typed; what is left out is that of the services' current month. Raises CommandFailed."""
    month = month_of(read_clock(services.aggregator).now, zone) if not (start and end) else None
    span = Span(
        parse_day_or_instant(start, zone, "--from") if start or month is None else month.start,
        parse_day_or_instant(end, zone, "--to") if end or month is None else month.end,
    )
    if span.start >= span.end:
        raise misused("--from must lie before --to")
    return span


def bound(text: str, zone: str, option: str) -> Timestamp | None:
    """A day or instant that was typed, None for none; raises InvalidInput."""
    return to_timestamp(parse_day_or_instant(text, time_zone(zone, "--zone"), option)) if text else None
