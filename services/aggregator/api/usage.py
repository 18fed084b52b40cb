"""The API's method about usage."""

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.answer import answer
from services.aggregator.api.range import parse_min_position, parse_span
from services.aggregator.deadline import Deadline
from services.aggregator.definition import Definition
from services.aggregator.meter_rows import read_meter
from services.aggregator.query import UsageQuery, UsageRow, require_query
from services.aggregator.snapshot import snapshot
from services.aggregator.tables import UsageTables
from services.eventstore.store import EventStore
from services.kernel.calendar import Window, time_zone
from services.kernel.errors import InvalidInput
from services.kernel.timestamp import to_timestamp
from services.projection.runner import ProjectionRunner

_WINDOWS = {
    api.WINDOW_UNSPECIFIED: Window.NONE,
    api.WINDOW_NONE: Window.NONE,
    api.WINDOW_HOUR: Window.HOUR,
    api.WINDOW_DAY: Window.DAY,
    api.WINDOW_MONTH: Window.MONTH,
}


class Usage:
    """Answers queries, each from one snapshot of the read model."""

    def __init__(self, store: EventStore, windows: ProjectionRunner[UsageTables]) -> None:
        self._store = store
        self._windows = windows

    def query(self, request: api.QueryUsageRequest, left_s: float) -> api.QueryUsageResponse:
        """The usage of one meter over a range."""
        deadline = Deadline.after(left_s)
        self._windows.wait_for_reader(parse_min_position(request), left_s)
        with snapshot(self._windows, self._store) as usage:
            meter = read_meter(usage.connection, usage.tables, request.meter).definition
            query = _parse_query(meter, request)
            rows = [_row_message(query, row) for row in answer(usage, query, deadline)]
            return api.QueryUsageResponse(rows=rows, position=usage.position)


def _parse_query(meter: Definition, request: api.QueryUsageRequest) -> UsageQuery:
    if request.window not in _WINDOWS:
        raise InvalidInput("window is unknown; choose one of the enum Window", field="window", reason="UNKNOWN_WINDOW")
    zone = time_zone(request.time_zone or "UTC")
    return require_query(meter, request.subjects, parse_span(request), _WINDOWS[request.window], zone, request.group_by)


def _row_message(query: UsageQuery, row: UsageRow) -> api.UsageRow:
    return api.UsageRow(
        start_at=to_timestamp(row.span.start),
        end_at=to_timestamp(row.span.end),
        group=dict(zip(query.group_by, row.group, strict=True)),
        value=row.value,
    )
