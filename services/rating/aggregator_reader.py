"""Reads usage from the aggregator over gRPC."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

import grpc

from meterlog.aggregator.v1.aggregator_pb2 import GetMeterRequest, MeterTotal, QueryTotalsRequest, QueryTotalsResponse
from meterlog.aggregator.v1.aggregator_pb2_grpc import AggregatorServiceStub
from services.eventstore.event import Position
from services.kernel.calendar import Span
from services.kernel.errors import Corrupt, DomainError, TimedOut, Unavailable
from services.kernel.timestamp import to_timestamp
from services.rating.plan import ZERO
from services.rating.usage_reader import MeterState, UsageRead

TIMEOUT_S_MIN = 0.001


class AggregatorReader:
    """A UsageReader over a channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = AggregatorServiceStub(channel)

    def usage(
        self, meters: Sequence[str], customer: str, period: Span, min_position: Position, timeout_s: float
    ) -> UsageRead:
        """As in `UsageReader`; one question for all meters, so that they count up to one position."""
        if not meters:
            return UsageRead({}, min_position)
        response = self._query(_request(meters, customer, period, min_position), timeout_s)
        return UsageRead(_quantities(response, meters), Position(response.position))

    def meter_state(self, slug: str, timeout_s: float) -> MeterState:
        """As in `UsageReader`."""
        try:
            response = self._stub.GetMeter(GetMeterRequest(slug=slug), timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return MeterState.ABSENT
            raise _translated(error) from error
        return MeterState.ARCHIVED if response.meter.HasField("archived_at") else MeterState.IN_USE

    def _query(self, request: QueryTotalsRequest, timeout_s: float) -> QueryTotalsResponse:
        try:
            response = self._stub.QueryTotals(request, timeout=max(timeout_s, TIMEOUT_S_MIN))
        except grpc.RpcError as error:
            raise _translated(error) from error
        if response.position < request.min_position:
            raise Unavailable(
                f"the aggregator stands at position {response.position}, before {request.min_position}; repeat later",
                reason="AGGREGATOR_LAGS",
            )
        return response


def _request(meters: Sequence[str], customer: str, period: Span, min_position: Position) -> QueryTotalsRequest:
    return QueryTotalsRequest(
        subject=customer,
        meters=meters,
        start_at=to_timestamp(period.start),
        end_at=to_timestamp(period.end),
        min_position=min_position,
    )


def _quantities(response: QueryTotalsResponse, meters: Sequence[str]) -> dict[str, Decimal]:
    """One quantity a meter; an answer about other meters than those asked for is never billed."""
    answered = [total.meter for total in response.totals]
    if answered != list(meters):
        raise Corrupt(f"the aggregator was asked for the meters {list(meters)} and answered {answered[:100]}")
    return {total.meter: _quantity(total) for total in response.totals}


def _quantity(total: MeterTotal) -> Decimal:
    """The total's value; no value means no usage."""
    if not total.HasField("value"):
        return ZERO
    try:
        quantity = Decimal(total.value)
    except InvalidOperation:
        quantity = Decimal("NaN")
    if not quantity.is_finite():
        raise Corrupt(f'the aggregator answered "{total.value[:60]}" for "{total.meter}", which is no quantity')
    return quantity


def _translated(error: grpc.RpcError) -> DomainError:
    code, details = error.code(), str(error.details())[:300]
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return TimedOut(f"the aggregator did not answer in time: {details}", reason="AGGREGATOR_TIMED_OUT")
    return Unavailable(
        f"the aggregator gives no usage ({code.name}: {details}); see that it runs and repeat",
        reason="AGGREGATOR_UNAVAILABLE",
    )
