"""The projections of all services, and how far each is folded."""

from collections.abc import Iterator, Sequence
from threading import Event
from typing import Final

from meterlog.common.v1 import projection_pb2 as projection
from meterlog.common.v1.projection_pb2_grpc import ProjectionServiceStub
from services.cli.connection import Service, Services
from services.cli.failure import CommandFailed
from services.kernel.clock import monotonic_s

POLL_S: Final = 0.05


def projections_of(service: Service) -> ProjectionServiceStub:
    """The face that shows and rebuilds a service's projections."""
    return ProjectionServiceStub(service.channel)


def known_projections(services: Services) -> Iterator[tuple[Service, projection.Projection]]:
    """Every projection with the service that owns it."""
    for service in services.each():
        for found in _projections(service):
            yield service, found


def wait_until_folded(service: Service, timeout_s: float) -> None:
    """Return when the service has folded the log as far as it reaches now; raises CommandFailed."""
    head = max((found.head_position for found in _projections(service)), default=0)
    deadline = monotonic_s() + timeout_s
    while behind := [found.name for found in _projections(service) if found.position < head]:
        if monotonic_s() > deadline:
            raise CommandFailed(
                f"not folded up to position {head} after {timeout_s:.0f} s: {', '.join(behind)}; look into the logs",
                reason="FOLDING_LAGS",
            )
        Event().wait(POLL_S)


def _projections(service: Service) -> Sequence[projection.Projection]:
    request = projection.ListProjectionsRequest()
    return service.call(projections_of(service).ListProjections, request).projections
