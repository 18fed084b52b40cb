"""The API's method about closed periods."""

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.closed_periods import ClosedPeriod, PeriodKey, list_closed
from services.aggregator.usage_periods import PeriodTables
from services.kernel.errors import InvalidInput
from services.kernel.timestamp import to_timestamp
from services.projection.runner import ProjectionRunner
from services.rpc.pages import decode_token, encode_token, page_size


class Periods:
    """Reads closed periods from their read model."""

    def __init__(self, periods: ProjectionRunner[PeriodTables]) -> None:
        self._periods = periods

    def list(self, request: api.ListClosedPeriodsRequest) -> api.ListClosedPeriodsResponse:
        """Closed periods, newest first."""
        size, after = page_size(request.page_size), _key(request.page_token)
        with self._periods.read() as (connection, tables):
            closed, following = list_closed(connection, tables, subject=request.subject, after=after, limit=size)
        token = "" if following is None else encode_token(*following)
        return api.ListClosedPeriodsResponse(periods=map(_message, closed), next_page_token=token)


def _key(token: str) -> PeriodKey | None:
    match decode_token(token):
        case ():
            return None
        case (int(start_us), str(subject), str(kind)):
            return start_us, subject, kind
        case _:
            raise InvalidInput("page_token is of another list; start from the first page", field="page_token")


def _message(closed: ClosedPeriod) -> api.ClosedPeriod:
    return api.ClosedPeriod(
        subject=closed.usage.subject,
        period=closed.kind,
        start_at=to_timestamp(closed.usage.span.start),
        end_at=to_timestamp(closed.usage.span.end),
        totals=closed.usage.totals,
        position=closed.usage.position,
        closed_at=to_timestamp(closed.closed_at),
    )
