"""Reads usage from the aggregator over gRPC."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

import grpc

from meterlog.aggregator.v1.aggregator_pb2 import WINDOW_NONE, GetMeterRequest, QueryUsageRequest, QueryUsageResponse
from meterlog.aggregator.v1.aggregator_pb2_grpc import AggregatorServiceStub
from services.eventstore.event import Position
from services.kernel.calendar import Span
from services.kernel.clock import monotonic_s
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
        """As in `UsageReader`; one query a meter, all within `timeout_s`."""
        deadline = monotonic_s() + timeout_s
        responses = {
            meter: self._query(_request(meter, customer, period, min_position), deadline - monotonic_s())
            for meter in meters
        }
        positions = [Position(response.position) for response in responses.values()]
        quantities = {meter: _quantity(response) for meter, response in responses.items()}
        return UsageRead(quantities, min(positions, default=min_position))

    def meter_state(self, slug: str, timeout_s: float) -> MeterState:
        """As in `UsageReader`."""
        try:
            response = self._stub.GetMeter(GetMeterRequest(slug=slug), timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return MeterState.ABSENT
            raise _translated(error) from error
        return MeterState.ARCHIVED if response.meter.HasField("archived_at") else MeterState.IN_USE

    def _query(self, request: QueryUsageRequest, timeout_s: float) -> QueryUsageResponse:
        try:
            response = self._stub.QueryUsage(request, timeout=max(timeout_s, TIMEOUT_S_MIN))
        except grpc.RpcError as error:
            raise _translated(error) from error
        if response.position < request.min_position:
            raise Unavailable(
                f"the aggregator stands at position {response.position}, before {request.min_position}; repeat later",
                reason="AGGREGATOR_LAGS",
            )
        return response


def _request(meter: str, customer: str, period: Span, min_position: Position) -> QueryUsageRequest:
    return QueryUsageRequest(
        meter=meter,
        subjects=[customer],
        start_at=to_timestamp(period.start),
        end_at=to_timestamp(period.end),
        window=WINDOW_NONE,
        min_position=min_position,
    )


def _quantity(response: QueryUsageResponse) -> Decimal:
    """The one row's value; no row and no value mean no usage."""
    if not response.rows or not response.rows[0].HasField("value"):
        return ZERO
    try:
        quantity = Decimal(response.rows[0].value)
    except InvalidOperation:
        quantity = Decimal("NaN")
    if not quantity.is_finite():
        raise Corrupt(f'the aggregator answered "{response.rows[0].value[:60]}", which is no quantity')
    return quantity


def _translated(error: grpc.RpcError) -> DomainError:
    code, details = error.code(), str(error.details())[:300]
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return TimedOut(f"the aggregator did not answer in time: {details}", reason="AGGREGATOR_TIMED_OUT")
    return Unavailable(
        f"the aggregator gives no usage ({code.name}: {details}); see that it runs and repeat",
        reason="AGGREGATOR_UNAVAILABLE",
    )
