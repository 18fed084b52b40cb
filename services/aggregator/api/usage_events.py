"""The API's methods about recorded usage events."""

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.api.instants import parse_instant
from services.aggregator.deadline import Deadline
from services.aggregator.snapshot import snapshot
from services.aggregator.tables import UsageTables
from services.aggregator.usage_events import BEFORE_ALL, Choice, RecordedUsage, find_usage, list_usage
from services.eventstore.store import EventStore
from services.kernel.clock import epoch_us
from services.kernel.errors import InvalidInput
from services.kernel.ids import require_identifier
from services.kernel.quantity import decimal_text
from services.kernel.timestamp import to_timestamp
from services.projection.runner import ProjectionRunner
from services.rpc.pages import decode_token, encode_token, page_size


class UsageEvents:
    """Reads usage events from the log, where the index of batches says that they can be."""

    def __init__(self, store: EventStore, windows: ProjectionRunner[UsageTables]) -> None:
        self._store = store
        self._windows = windows

    def get(self, request: api.GetUsageEventRequest, left_s: float) -> api.GetUsageEventResponse:
        """One usage event by source and id."""
        source, usage_id = require_identifier(request.source, "source"), require_identifier(request.id, "id")
        with snapshot(self._windows, self._store) as usage:
            found = find_usage(usage, source, usage_id, Deadline.after(left_s))
        return api.GetUsageEventResponse(event=_message(found))

    def list(self, request: api.ListUsageEventsRequest, left_s: float) -> api.ListUsageEventsResponse:
        """Usage events in the order of the log."""
        choice, size, behind = _choice(request), page_size(request.page_size), _place(request.page_token)
        with snapshot(self._windows, self._store) as usage:
            page = list_usage(usage, choice, behind, size, Deadline.after(left_s))
        token = "" if page.next is None else encode_token(*page.next)
        return api.ListUsageEventsResponse(events=map(_message, page.events), next_page_token=token)


def _choice(request: api.ListUsageEventsRequest) -> Choice:
    return Choice(
        subject=request.subject,
        type=request.type,
        start_us=epoch_us(parse_instant(request.start_at, "start_at")) if request.HasField("start_at") else None,
        end_us=epoch_us(parse_instant(request.end_at, "end_at")) if request.HasField("end_at") else None,
    )


def _place(token: str) -> tuple[int, int]:
    match decode_token(token):
        case ():
            return BEFORE_ALL
        case (int(position), int(row)):
            return position, row
        case _:
            raise InvalidInput("page_token is of another list; start from the first page", field="page_token")


def _message(usage: RecordedUsage) -> api.RecordedUsageEvent:
    return api.RecordedUsageEvent(
        id=usage.id,
        source=usage.source,
        type=usage.type,
        subject=usage.subject,
        time=to_timestamp(usage.at),
        value=decimal_text(usage.value),
        properties=usage.properties,
        position=usage.position,
        row=usage.row,
        recorded_at=to_timestamp(usage.recorded_at),
    )
