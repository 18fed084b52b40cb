"""What every question about usage says: a range of time, and the log position that the answer must have reached."""

from typing import TypeAlias

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.api.instants import missing, parse_instant
from services.aggregator.tables import UsageTables
from services.eventstore.event import BEGINNING, Position
from services.eventstore.store import EventStore
from services.kernel.calendar import Span
from services.kernel.errors import InvalidInput
from services.projection.runner import ProjectionRunner

UsageRequest: TypeAlias = (
    api.QueryUsageRequest | api.QueryTotalsRequest | api.WatchUsageRequest | api.PreviewMeterRequest
)
PositionRequest: TypeAlias = api.QueryUsageRequest | api.QueryTotalsRequest


def parse_span(request: UsageRequest) -> Span:
    """The range, its ends not compared yet; raises InvalidInput."""
    if not request.HasField("start_at"):
        raise missing("start_at")
    if not request.HasField("end_at"):
        raise missing("end_at")
    return Span(parse_instant(request.start_at, "start_at"), parse_instant(request.end_at, "end_at"))


def parse_min_position(request: PositionRequest) -> Position:
    """The position, the beginning of the log by default; raises InvalidInput."""
    return _position(request.min_position, "min_position")


def parse_as_of(request: api.QueryUsageRequest) -> Position | None:
    """The position whose answer is asked for; None for that of the read model. Raises InvalidInput."""
    return _position(request.as_of, "as_of") if request.as_of else None


def wait_for_as_of(
    windows: ProjectionRunner[UsageTables], store: EventStore, as_of: Position | None, timeout_s: float
) -> None:
    """Return when the read model has reached a position whose answer is asked for.

    Raises InvalidInput when the log has not, and as `wait_for_reader` does.
    """
    position = BEGINNING if as_of is None else as_of
    if position > windows.position() and position > (head := store.head().position):
        raise InvalidInput(
            f"as_of is {position}, behind the log's end, {head}; give a position that was answered",
            field="as_of",
            reason="POSITION_BEHIND_THE_END",
        )
    windows.wait_for_reader(position, timeout_s)


def _position(position: int, field: str) -> Position:
    if position < 0:
        raise InvalidInput(f"{field} is below 0; send a position of the log, or none", field=field)
    return Position(position)
