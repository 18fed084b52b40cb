"""What every question about usage says: a range of time, and the log position that the answer must have reached."""

from typing import TypeAlias

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.api.instants import missing, parse_instant
from services.eventstore.event import Position
from services.kernel.calendar import Span
from services.kernel.errors import InvalidInput

UsageRequest: TypeAlias = api.QueryUsageRequest | api.QueryTotalsRequest


def parse_span(request: UsageRequest) -> Span:
    """The range, its ends not compared yet; raises InvalidInput."""
    if not request.HasField("start_at"):
        raise missing("start_at")
    if not request.HasField("end_at"):
        raise missing("end_at")
    return Span(parse_instant(request.start_at, "start_at"), parse_instant(request.end_at, "end_at"))


def parse_min_position(request: UsageRequest) -> Position:
    """The position, the beginning of the log by default; raises InvalidInput."""
    if request.min_position < 0:
        raise InvalidInput("min_position is below 0; send a position of the log, or none", field="min_position")
    return Position(request.min_position)
