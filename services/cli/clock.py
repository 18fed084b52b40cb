"""The time that the services go by: read from all of them, and moved in a simulation."""

from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import Final

from meterlog.common.v1 import clock_pb2 as clock
from meterlog.common.v1.clock_pb2_grpc import ClockServiceStub
from services.cli.connection import Service, Services
from services.cli.failure import CommandFailed
from services.cli.instants import instant_text
from services.kernel.clock import monotonic_s
from services.kernel.timestamp import from_timestamp, to_timestamp

FOLLOW_TIMEOUT_S: Final = 15.0
POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What one service takes for now."""

    service: str
    now: datetime
    is_simulated: bool


def read_clock(service: Service) -> ClockReading:
    """What the service takes for now."""
    response = service.call(ClockServiceStub(service.channel).GetClock, clock.GetClockRequest())
    return ClockReading(service.name, from_timestamp(response.now), response.simulated)


def read_clocks(services: Services) -> list[ClockReading]:
    """What each service takes for now."""
    return [read_clock(service) for service in services.each()]


def advance_clock(services: Services, to: datetime) -> list[ClockReading]:
    """Move the simulated clock, and return when every service goes by the new time; raises CommandFailed."""
    first = services.each()[0]
    first.call(ClockServiceStub(first.channel).AdvanceClock, clock.AdvanceClockRequest(now=to_timestamp(to)))
    deadline = monotonic_s() + FOLLOW_TIMEOUT_S
    while True:
        readings = read_clocks(services)
        behind = [reading.service for reading in readings if reading.now < to]
        if not behind:
            return readings
        if monotonic_s() > deadline:
            raise CommandFailed(
                f"the clock stands at {instant_text(to)}, but not yet for {', '.join(behind)}; look into their logs",
                reason="CLOCK_NOT_FOLLOWED",
            )
        Event().wait(POLL_S)
