"""The API's methods about periods."""

from datetime import UTC, datetime
from typing import TypeAlias

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.api.instants import instant_text, missing, parse_instant
from services.aggregator.api.period_message import closed_message
from services.aggregator.deadline import Deadline
from services.aggregator.periods.closed_periods import ClosedChoice, find_closed, list_closed
from services.aggregator.periods.closer import PeriodClosing
from services.aggregator.periods.period_counts import rounds, usage_of
from services.aggregator.periods.period_kind import LENGTHS, PeriodKind
from services.aggregator.periods.period_statements import last_of
from services.aggregator.periods.usage_periods import PeriodKey, PeriodTables
from services.aggregator.snapshot import snapshot
from services.aggregator.tables import UsageTables
from services.aggregator.usage.archived_usage import ArchivedUsage
from services.eventstore.event import BEGINNING, Position
from services.eventstore.store import EventStore
from services.kernel.calendar import Span, Window
from services.kernel.clock import Clock
from services.kernel.errors import InvalidInput, NotFound, RuleViolated
from services.kernel.ids import require_identifier
from services.kernel.timestamp import to_timestamp
from services.projection.runner import ProjectionRunner
from services.rpc.pages import decode_token, encode_token, page_size

PeriodRequest: TypeAlias = api.GetPeriodUsageRequest | api.ClosePeriodRequest


BEGINNING_OF_TIME = datetime(1, 1, 1, tzinfo=UTC)


class Periods:
    """Reads periods, open and closed, and closes them when told."""

    def __init__(
        self,
        store: EventStore,
        windows: ProjectionRunner[UsageTables],
        periods: ProjectionRunner[PeriodTables],
        clock: Clock,
        archive: ArchivedUsage | None = None,
    ) -> None:
        self._store = store
        self._windows = windows
        self._periods = periods
        self._clock = clock
        self._archive = archive
        self._closing = PeriodClosing(store, clock, windows, archive)

    def list(self, request: api.ListClosedPeriodsRequest) -> api.ListClosedPeriodsResponse:
        """Closed periods, newest first."""
        size, after = page_size(request.page_size), _key(request.page_token)
        if request.period and request.period not in LENGTHS:
            raise _unknown_period(request.period)
        choice = ClosedChoice(request.subject, request.period, request.only_restated)
        with self._periods.read() as (connection, tables):
            closed, following = list_closed(connection, tables, choice, after=after, limit=size)
        token = "" if following is None else encode_token(*following)
        return api.ListClosedPeriodsResponse(periods=map(closed_message, closed), next_page_token=token)

    def usage(self, request: api.GetPeriodUsageRequest, left_s: float) -> api.GetPeriodUsageResponse:
        """The usage of one customer in one period as it is counted now, and as it was closed."""
        deadline = Deadline.after(left_s)
        subject, now = require_identifier(request.subject, "subject"), self._clock.now()
        kind = PeriodKind.of(request.period or Window.MONTH, request.time_zone)
        span = kind.period_of(parse_instant(request.at, "at") if request.HasField("at") else now)
        self._wait_for(_min_position(request), deadline)
        with self._periods.read() as (connection, tables):
            closed = find_closed(connection, tables, subject, kind, span)
        with snapshot(self._windows, self._store, self._archive) as source:
            (counted,) = usage_of(source, kind, span, [subject], now, deadline)
        return api.GetPeriodUsageResponse(
            start_at=to_timestamp(span.start),
            end_at=to_timestamp(span.end),
            totals=counted.totals,
            position=counted.position,
            closed=None if closed is None else closed_message(closed),
        )

    def close(self, request: api.ClosePeriodRequest, left_s: float) -> api.ClosePeriodResponse:
        """Close a period now, when it is over; answered when it can be read as closed.

        Raises RuleViolated: PERIOD_NOT_OVER, and while usage is parked EVENTS_PARKED.
        """
        deadline = Deadline.after(left_s)
        subject = require_identifier(request.subject, "subject") if request.subject else ""
        kind, span = self._period_that_is_over(request)
        self._windows.wait_for_reader(self._store.head().position, deadline.left_s())
        self._windows.require_whole()
        among = [self._require_known(subject, span)] if subject else self._closing.subjects(span)
        still_open = self._closing.open_for(kind, span, among)
        closings: list[Position] = []
        for some in rounds(still_open, span):
            closings += self._closing.close(kind, span, some, deadline)
            deadline.require()
        self._wait_for(last_of(closings), deadline)
        return api.ClosePeriodResponse(closed_count=len(closings), already_closed_count=len(among) - len(closings))

    def _require_known(self, subject: str, span: Span) -> str:
        """A closing is for ever, so a typing error must not be one."""
        if subject not in self._closing.subjects(Span(BEGINNING_OF_TIME, span.end)):
            raise NotFound(
                f'customer "{subject[:64]}" has no usage before the end of the period; check the key',
                reason="NO_USAGE",
            )
        return subject

    def _period_that_is_over(self, request: api.ClosePeriodRequest) -> tuple[PeriodKind, Span]:
        if not request.period:
            raise _unknown_period("")
        if not request.HasField("at"):
            raise missing("at")
        kind, now = PeriodKind.of(request.period, request.time_zone), self._clock.now()
        span = kind.period_of(parse_instant(request.at, "at"))
        if now < span.end:
            raise _not_over(kind, span, now)
        return kind, span

    def _wait_for(self, position: Position, deadline: Deadline) -> None:
        """Both projections; raises InvalidInput, Overloaded or TimedOut."""
        if position > BEGINNING:
            self._windows.wait_for_reader(position, deadline.left_s())
            self._periods.wait_for_reader(position, deadline.left_s())


def _min_position(request: api.GetPeriodUsageRequest) -> Position:
    if request.min_position < 0:
        raise InvalidInput("min_position is below 0; send a position of the log, or none", field="min_position")
    return Position(request.min_position)


def _key(token: str) -> PeriodKey | None:
    match decode_token(token):
        case ():
            return None
        case (int(start_us), str(subject), str(kind), str(zone)):
            return start_us, subject, kind, zone
        case _:
            raise InvalidInput("page_token is of another list; start from the first page", field="page_token")


def _unknown_period(text: str) -> InvalidInput:
    return InvalidInput(
        f'period is "{text[:60]}"; choose one of {", ".join(LENGTHS)}', field="period", reason="UNKNOWN_PERIOD"
    )


def _not_over(kind: PeriodKind, span: Span, now: datetime) -> RuleViolated:
    return RuleViolated(
        f"the {kind.key} from {instant_text(span.start)} ends at {instant_text(span.end)}, and it is "
        f"{instant_text(now)}; close it when it is over",
        reason="PERIOD_NOT_OVER",
    )
