"""The API's methods about recorded usage events."""

from datetime import datetime

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.api.condition_message import parse_conditions
from services.aggregator.api.correction_message import require_order
from services.aggregator.api.instants import parse_instant
from services.aggregator.corrections.standing import Standing, StandingUsage
from services.aggregator.deadline import Deadline
from services.aggregator.meters.definition import Definition
from services.aggregator.meters.meter_rows import read_meter
from services.aggregator.snapshot import UsageSnapshot, snapshot
from services.aggregator.tables import UsageTables
from services.aggregator.usage.usage_events import BEFORE_ALL, Choice, find_usage, list_usage
from services.eventstore.store import EventStore
from services.kernel.clock import epoch_us
from services.kernel.errors import InvalidInput
from services.kernel.ids import require_identifier
from services.kernel.quantity import decimal_text
from services.kernel.timestamp import to_timestamp
from services.projection.runner import ProjectionRunner
from services.rpc.pages import decode_token, encode_token, page_size

_STATES = {
    Standing.COUNTED: api.USAGE_STATE_COUNTED,
    Standing.AMENDED: api.USAGE_STATE_AMENDED,
    Standing.CANCELLED: api.USAGE_STATE_CANCELLED,
    Standing.HELD: api.USAGE_STATE_HELD,
}
_STANDINGS: dict[int, Standing] = {state: standing for standing, state in _STATES.items()}


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
        size, behind = page_size(request.page_size), _place(request.page_token)
        with snapshot(self._windows, self._store) as usage:
            page = list_usage(usage, _choice(usage, request), behind, size, Deadline.after(left_s))
        token = "" if page.next is None else encode_token(*page.next)
        return api.ListUsageEventsResponse(events=map(_message, page.events), next_page_token=token)


def _choice(source: UsageSnapshot, request: api.ListUsageEventsRequest) -> Choice:
    start, end = _range(request, "start_at", "end_at")
    recorded_from, recorded_until = _range(request, "recorded_from", "recorded_until")
    return Choice(
        subject=request.subject,
        type=request.type,
        start_us=_optional_us(start),
        end_us=_optional_us(end),
        source=request.source,
        meter=_meter(source, request.meter),
        conditions=parse_conditions(request.conditions, "conditions"),
        standing=_standing(request.state),
        recorded_from=recorded_from,
        recorded_until=recorded_until,
    )


def _range(request: api.ListUsageEventsRequest, first: str, end: str) -> tuple[datetime | None, datetime | None]:
    """Both ends, as far as they are given; raises InvalidInput for a range that nothing can lie in."""
    start, stop = _instant(request, first), _instant(request, end)
    require_order(_optional_us(start), _optional_us(stop), end, first)
    return start, stop


def _optional_us(instant: datetime | None) -> int | None:
    return None if instant is None else epoch_us(instant)


def _instant(request: api.ListUsageEventsRequest, field: str) -> datetime | None:
    if not request.HasField(field):  # type: ignore[arg-type]  # one of its four instants
        return None
    return parse_instant(getattr(request, field), field)


def _meter(source: UsageSnapshot, slug: str) -> Definition | None:
    return read_meter(source.connection, source.tables, slug).definition if slug else None


def _standing(state: int) -> Standing | None:
    if state == api.USAGE_STATE_UNSPECIFIED:
        return None
    if state not in _STANDINGS:
        raise InvalidInput("state is unknown; choose one of the enum UsageState", field="state", reason="UNKNOWN_STATE")
    return _STANDINGS[state]


def _place(token: str) -> tuple[int, int]:
    match decode_token(token):
        case ():
            return BEFORE_ALL
        case (int(position), int(row)):
            return position, row
        case _:
            raise InvalidInput("page_token is of another list; start from the first page", field="page_token")


def _message(usage: StandingUsage) -> api.RecordedUsageEvent:
    is_other_value = usage.value != usage.recorded_value
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
        state=_STATES[usage.standing],
        corrections=usage.corrections,
        recorded_value=decimal_text(usage.recorded_value) if is_other_value else "",
        recorded_properties=usage.recorded_properties if usage.properties != usage.recorded_properties else {},
    )
