"""Usage by period as values, and the calls that ask for it, list what was closed, and close a period by hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from meterlog.aggregator.v1 import aggregator_pb2
from meterlog.client.event import timestamp
from meterlog.client.instant import instant_of
from meterlog.client.question import Pages, Question, usage_question

PERIODS_PER_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class RestatedTotal:
    """The total of one meter before and after; None where there is none."""

    meter: str
    old_value: Decimal | None
    new_value: Decimal | None


@dataclass(frozen=True, slots=True)
class Restatement:
    """What changed in a closed period; `number` from 1. Counted up to log position `position`."""

    number: int
    restated_at: datetime
    totals: tuple[RestatedTotal, ...]
    previous_position: int
    position: int


@dataclass(frozen=True, slots=True)
class ClosedPeriod:
    """A closed period [start_at, end_at) of one customer; `totals` by meter are those that were stated last."""

    subject: str
    period: str
    time_zone: str
    start_at: datetime
    end_at: datetime
    totals: Mapping[str, Decimal]
    closed_at: datetime
    restatements: tuple[Restatement, ...]
    position: int


@dataclass(frozen=True, slots=True)
class PeriodUsage:
    """The usage of a customer in the period [start_at, end_at), by meter, as counted up to log position `position`.

    `closed` is what was stated when it was closed and restated; None while it is open.
    """

    start_at: datetime
    end_at: datetime
    totals: Mapping[str, Decimal]
    closed: ClosedPeriod | None
    position: int


@dataclass(frozen=True, slots=True)
class Closing:
    """For how many customers a period was closed by a call, and for how many it was closed already."""

    closed_count: int
    already_closed_count: int


def period_usage(
    subject: str, period: str, at: datetime | None, time_zone: str, min_position: int
) -> Question[PeriodUsage]:
    """The usage of the period that holds an instant, now unless given; raises WrongType or WrongValue."""
    request = aggregator_pb2.GetPeriodUsageRequest(
        subject=subject,
        period=period,
        time_zone=time_zone,
        at=None if at is None else timestamp(at, "at"),
        min_position=min_position,
    )
    return usage_question("GetPeriodUsage", request, aggregator_pb2.GetPeriodUsageResponse, _usage)


def closed_periods(subject: str, period: str, only_restated: bool) -> Pages[ClosedPeriod]:
    """Closed periods, newest first."""
    request = aggregator_pb2.ListClosedPeriodsRequest(
        subject=subject, period=period, only_restated=only_restated, page_size=PERIODS_PER_PAGE
    )
    response = aggregator_pb2.ListClosedPeriodsResponse
    return Pages(
        usage_question("ListClosedPeriods", request, response, lambda answer: tuple(map(_closed, answer.periods)))
    )


def close_period(period: str, at: datetime, time_zone: str, subject: str) -> Question[Closing]:
    """Close the period that holds an instant; raises WrongType or WrongValue."""
    request = aggregator_pb2.ClosePeriodRequest(
        subject=subject, period=period, time_zone=time_zone, at=timestamp(at, "at")
    )
    return usage_question(
        "ClosePeriod",
        request,
        aggregator_pb2.ClosePeriodResponse,
        lambda answer: Closing(answer.closed_count, answer.already_closed_count),
    )


def _usage(answer: aggregator_pb2.GetPeriodUsageResponse) -> PeriodUsage:
    return PeriodUsage(
        start_at=instant_of(answer.start_at),
        end_at=instant_of(answer.end_at),
        totals=_totals(answer.totals),
        closed=_closed(answer.closed) if answer.HasField("closed") else None,
        position=answer.position,
    )


def _closed(message: aggregator_pb2.ClosedPeriod) -> ClosedPeriod:
    return ClosedPeriod(
        subject=message.subject,
        period=message.period,
        time_zone=message.time_zone,
        start_at=instant_of(message.start_at),
        end_at=instant_of(message.end_at),
        totals=_totals(message.totals),
        closed_at=instant_of(message.closed_at),
        restatements=tuple(map(_restatement, message.restatements)),
        position=message.position,
    )


def _restatement(message: aggregator_pb2.Restatement) -> Restatement:
    return Restatement(
        number=message.number,
        restated_at=instant_of(message.restated_at),
        totals=tuple(map(_restated_total, message.totals)),
        previous_position=message.previous_position,
        position=message.position,
    )


def _restated_total(message: aggregator_pb2.RestatedTotal) -> RestatedTotal:
    return RestatedTotal(
        message.meter,
        Decimal(message.old_value) if message.HasField("old_value") else None,
        Decimal(message.new_value) if message.HasField("new_value") else None,
    )


def _totals(totals: Mapping[str, str]) -> dict[str, Decimal]:
    return {meter: Decimal(value) for meter, value in totals.items()}
