"""The gRPC face of the clock, served by every service."""

import grpc

from meterlog.common.v1 import clock_pb2, clock_pb2_grpc
from services.eventstore.store import EventStore
from services.kernel.clock import Clock, SimulatedClock
from services.kernel.errors import InvalidInput, RuleViolated
from services.kernel.timestamp import from_timestamp, is_in_range, to_timestamp
from services.rpc.simulation import advance, is_simulated

CLOCK_SERVICE = "meterlog.common.v1.ClockService"


class ClockFace(clock_pb2_grpc.ClockServiceServicer):
    """Tells the time; in a simulation, advances it."""

    def __init__(self, store: EventStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def register(self, server: grpc.aio.Server) -> None:
        """Add this face to a server."""
        clock_pb2_grpc.add_ClockServiceServicer_to_server(self, server)

    def GetClock(self, request: clock_pb2.GetClockRequest, context: grpc.ServicerContext) -> clock_pb2.GetClockResponse:
        """The time as this service takes it."""
        return clock_pb2.GetClockResponse(now=to_timestamp(self._clock.now()), simulated=is_simulated(self._clock))

    def AdvanceClock(
        self, request: clock_pb2.AdvanceClockRequest, context: grpc.ServicerContext
    ) -> clock_pb2.AdvanceClockResponse:
        """Move the simulated clock, for every service."""
        if not isinstance(self._clock, SimulatedClock):
            raise RuleViolated(
                "the clock is real; start with METERLOG_CLOCK=simulated to advance it", reason="CLOCK_IS_REAL"
            )
        if not request.HasField("now") or not is_in_range(request.now):
            raise InvalidInput("now is missing or outside the years 1 to 9999", field="now")
        now, position = advance(self._store, from_timestamp(request.now))
        self._clock.advance(now)
        return clock_pb2.AdvanceClockResponse(now=to_timestamp(now), position=position)
