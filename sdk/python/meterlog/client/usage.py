"""Usage as the aggregator answers it: quantities by window and group, totals, and the usage events behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from meterlog.aggregator.v1 import aggregator_pb2
from meterlog.client.condition import Condition, condition_messages
from meterlog.client.errors import WrongValue
from meterlog.client.event import timestamp
from meterlog.client.instant import instant_of
from meterlog.client.question import Pages, Question, usage_question

EVENTS_PER_PAGE = 1_000
UNMATCHED_PER_PAGE = 1_000
ROWS_PER_PAGE = 10_000

WINDOWS = {name.removeprefix("WINDOW_").lower(): number for name, number in aggregator_pb2.Window.items() if number}
_STATES = {
    name.removeprefix("USAGE_STATE_").lower(): number for name, number in aggregator_pb2.UsageState.items() if number
}


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Usage of one window and group; `value` is None where the aggregation has no value without usage."""

    start_at: datetime
    end_at: datetime
    group: Mapping[str, str]
    value: Decimal | None


@dataclass(frozen=True, slots=True)
class UsageChange:
    """What a watch tells: all rows at first, then those that changed, counted up to log position `position`."""

    rows: tuple[UsageRow, ...]
    position: int


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """The totals of several meters for one customer, all counted up to log position `position`."""

    totals: Mapping[str, Decimal | None]
    position: int


@dataclass(frozen=True, slots=True)
class RecordedUsage:
    """A usage event in the log: `value` and `properties` are what counts; `state` tells how.

    It is counted, amended, cancelled or held.

    `corrections` are the keys of the corrections and backfills that act on it. `recorded_value` and
    `recorded_properties` are what was recorded before an amendment, else empty.
    """

    source: str
    id: str
    type: str
    subject: str
    time: datetime
    value: Decimal
    properties: Mapping[str, str]
    position: int
    recorded_at: datetime
    state: str
    corrections: tuple[str, ...]
    recorded_value: Decimal | None
    recorded_properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UnmatchedUsage:
    """Usage events of one type that no meter in use counts; perhaps a typing error."""

    type: str
    usage_event_count: int
    first_at: datetime
    last_at: datetime


def usage_rows(
    meter: str,
    start_at: datetime,
    end_at: datetime,
    *,
    subjects: Sequence[str],
    window: str,
    time_zone: str,
    group_by: Sequence[str],
    filters: Sequence[Condition | str],
    top: int,
    as_of: int,
    min_position: int,
) -> Pages[UsageRow]:
    """The question for usage; raises WrongType or WrongValue."""
    if window not in WINDOWS:
        raise WrongValue(f'window is "{window}"; use one of {", ".join(WINDOWS)}')
    request = aggregator_pb2.QueryUsageRequest(
        meter=meter,
        subjects=subjects,
        start_at=timestamp(start_at, "start_at"),
        end_at=timestamp(end_at, "end_at"),
        window=WINDOWS[window],
        time_zone=time_zone,
        group_by=group_by,
        filters=condition_messages(filters),
        top=top,
        as_of=as_of,
        min_position=min_position,
        page_size=ROWS_PER_PAGE,
    )
    response = aggregator_pb2.QueryUsageResponse
    return Pages(usage_question("QueryUsage", request, response, lambda answer: tuple(map(_row, answer.rows))))


def watched_usage(
    meter: str,
    start_at: datetime,
    end_at: datetime,
    *,
    subjects: Sequence[str],
    group_by: Sequence[str],
    filters: Sequence[Condition | str],
) -> Question[UsageChange]:
    """The question for usage as it changes; raises WrongType or WrongValue."""
    request = aggregator_pb2.WatchUsageRequest(
        meter=meter,
        subjects=subjects,
        start_at=timestamp(start_at, "start_at"),
        end_at=timestamp(end_at, "end_at"),
        group_by=group_by,
        filters=condition_messages(filters),
    )
    return usage_question(
        "WatchUsage",
        request,
        aggregator_pb2.WatchUsageResponse,
        lambda answer: UsageChange(tuple(map(_row, answer.rows)), answer.position),
    )


def usage_totals(
    subject: str, meters: Sequence[str], start_at: datetime, end_at: datetime, min_position: int
) -> Question[UsageTotals]:
    """The question for totals; raises WrongType or WrongValue."""
    request = aggregator_pb2.QueryTotalsRequest(
        subject=subject,
        meters=meters,
        start_at=timestamp(start_at, "start_at"),
        end_at=timestamp(end_at, "end_at"),
        min_position=min_position,
    )
    return usage_question("QueryTotals", request, aggregator_pb2.QueryTotalsResponse, _totals)


def usage_events(
    *,
    subject: str,
    type: str,  # noqa: A002 - the attribute's name in CloudEvents and in the contract
    source: str,
    meter: str,
    start_at: datetime | None,
    end_at: datetime | None,
    recorded_from: datetime | None,
    recorded_until: datetime | None,
    conditions: Sequence[Condition | str],
    state: str,
) -> Pages[RecordedUsage]:
    """The question for usage events; raises WrongType or WrongValue."""
    if state and state not in _STATES:
        raise WrongValue(f'state is "{state}"; use one of {", ".join(_STATES)}')
    request = aggregator_pb2.ListUsageEventsRequest(
        subject=subject,
        type=type,
        source=source,
        meter=meter,
        start_at=None if start_at is None else timestamp(start_at, "start_at"),
        end_at=None if end_at is None else timestamp(end_at, "end_at"),
        recorded_from=None if recorded_from is None else timestamp(recorded_from, "recorded_from"),
        recorded_until=None if recorded_until is None else timestamp(recorded_until, "recorded_until"),
        conditions=condition_messages(conditions),
        state=_STATES[state] if state else aggregator_pb2.USAGE_STATE_UNSPECIFIED,
        page_size=EVENTS_PER_PAGE,
    )
    response = aggregator_pb2.ListUsageEventsResponse
    return Pages(usage_question("ListUsageEvents", request, response, lambda page: tuple(map(_event, page.events))))


def one_usage_event(source: str, id: str) -> Question[RecordedUsage]:  # noqa: A002 - as above
    """The question for one usage event."""
    request = aggregator_pb2.GetUsageEventRequest(source=source, id=id)
    response = aggregator_pb2.GetUsageEventResponse
    return usage_question("GetUsageEvent", request, response, lambda answer: _event(answer.event))


def unmatched_usage() -> Pages[UnmatchedUsage]:
    """The question for the types that no meter counts."""
    request = aggregator_pb2.ListUnmatchedUsageRequest(page_size=UNMATCHED_PER_PAGE)
    return Pages(
        usage_question(
            "ListUnmatchedUsage",
            request,
            aggregator_pb2.ListUnmatchedUsageResponse,
            lambda page: tuple(map(_unmatched, page.types)),
        )
    )


def _row(row: aggregator_pb2.UsageRow) -> UsageRow:
    value = Decimal(row.value) if row.HasField("value") else None
    return UsageRow(instant_of(row.start_at), instant_of(row.end_at), dict(row.group), value)


def _totals(response: aggregator_pb2.QueryTotalsResponse) -> UsageTotals:
    totals = {each.meter: Decimal(each.value) if each.HasField("value") else None for each in response.totals}
    return UsageTotals(totals, response.position)


def _event(event: aggregator_pb2.RecordedUsageEvent) -> RecordedUsage:
    return RecordedUsage(
        source=event.source,
        id=event.id,
        type=event.type,
        subject=event.subject,
        time=instant_of(event.time),
        value=Decimal(event.value),
        properties=dict(event.properties),
        position=event.position,
        recorded_at=instant_of(event.recorded_at),
        state=_state_name(event.state),
        corrections=tuple(event.corrections),
        recorded_value=Decimal(event.recorded_value) if event.recorded_value else None,
        recorded_properties=dict(event.recorded_properties),
    )


def _unmatched(found: aggregator_pb2.UnmatchedUsage) -> UnmatchedUsage:
    return UnmatchedUsage(found.type, found.usage_event_count, instant_of(found.first_at), instant_of(found.last_at))


def _state_name(state: int) -> str:
    return next((name for name, number in _STATES.items() if number == state), "counted")
