"""Questions about usage between the API's messages and the values of this room."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.api.condition_message import parse_conditions
from services.aggregator.api.range import parse_span
from services.aggregator.meters.definition import Definition
from services.aggregator.questions.query import UsageQuery, UsageRow, require_query
from services.kernel.calendar import Window, time_zone
from services.kernel.errors import InvalidInput
from services.kernel.timestamp import to_timestamp

WINDOWS = {
    api.WINDOW_UNSPECIFIED: Window.NONE,
    api.WINDOW_NONE: Window.NONE,
    api.WINDOW_MINUTE: Window.MINUTE,
    api.WINDOW_HOUR: Window.HOUR,
    api.WINDOW_DAY: Window.DAY,
    api.WINDOW_WEEK: Window.WEEK,
    api.WINDOW_MONTH: Window.MONTH,
    api.WINDOW_QUARTER: Window.QUARTER,
    api.WINDOW_YEAR: Window.YEAR,
}


def parse_query(meter: Definition, request: api.QueryUsageRequest) -> UsageQuery:
    """The question of a query, whichever page of its answer is asked for; raises InvalidInput that names the field."""
    if request.window not in WINDOWS:
        raise InvalidInput("window is unknown; choose one of the enum Window", field="window", reason="UNKNOWN_WINDOW")
    zone = time_zone(request.time_zone or "UTC")
    window, span = WINDOWS[request.window], parse_span(request)
    query = require_query(meter, request.subjects, span, window, zone, request.group_by)
    return query.filtered(parse_conditions(request.filters, "filters")).topped(request.top)


def parse_watched(meter: Definition, request: api.WatchUsageRequest) -> UsageQuery:
    """The question that is answered again and again for a watcher: one window; raises InvalidInput."""
    query = require_query(meter, request.subjects, parse_span(request), Window.NONE, _ANY_ZONE, request.group_by)
    return query.filtered(parse_conditions(request.filters, "filters"))


def row_messages(query: UsageQuery, rows: Iterable[UsageRow]) -> Iterator[api.UsageRow]:
    """Rows as the API shows them. Neighbours are of one window, so its instants are converted once."""
    for span, of_window in groupby(rows, key=_span):
        start_at, end_at = to_timestamp(span.start), to_timestamp(span.end)
        for row in of_window:
            group = dict(zip(query.group_by, row.group, strict=True))
            yield api.UsageRow(start_at=start_at, end_at=end_at, group=group, value=row.value)


_ANY_ZONE = time_zone("UTC")
_span = attrgetter("span")
