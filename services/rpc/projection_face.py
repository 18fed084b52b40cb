"""The gRPC face of projections: list them, rebuild one with progress."""

import queue
import threading
from collections.abc import Iterator, Sequence

import grpc
import structlog

from meterlog.common.v1 import projection_pb2, projection_pb2_grpc
from services.eventstore.event import Position
from services.kernel.errors import DomainError, NotFound, TimedOut, Unavailable
from services.projection.projection import Comparison, ProjectionStatus, Rebuildable, RebuildMode, RebuildProgress

PROJECTION_SERVICE = "meterlog.common.v1.ProjectionService"
PROGRESS_TIMEOUT_S = 600.0

log = structlog.get_logger()

_MODES = {
    projection_pb2.REBUILD_MODE_COMPARE_ONLY: RebuildMode.COMPARE_ONLY,
    projection_pb2.REBUILD_MODE_REPLACE: RebuildMode.REPLACE,
}


class ProjectionFace(projection_pb2_grpc.ProjectionServiceServicer):
    """Lists and rebuilds the projections of one service."""

    def __init__(self, projections: Sequence[Rebuildable]) -> None:
        self._projections = {projection.name: projection for projection in projections}

    def register(self, server: grpc.aio.Server) -> None:
        """Add this face to a server."""
        projection_pb2_grpc.add_ProjectionServiceServicer_to_server(self, server)

    def ListProjections(
        self, request: projection_pb2.ListProjectionsRequest, context: grpc.ServicerContext
    ) -> projection_pb2.ListProjectionsResponse:
        """The projections of this service, by name."""
        statuses = [self._projections[name].status() for name in sorted(self._projections)]
        return projection_pb2.ListProjectionsResponse(projections=map(_status_message, statuses))

    def RebuildProjection(
        self, request: projection_pb2.RebuildProjectionRequest, context: grpc.ServicerContext
    ) -> Iterator[projection_pb2.RebuildProjectionResponse]:
        """Rebuild one projection; the last message compares it with the live one."""
        projection = self._projections.get(request.name)
        if projection is None:
            known = ", ".join(sorted(self._projections)) or "none"
            raise NotFound(f'no projection "{request.name}" in this service; it has {known}')
        yield from _rebuild(projection, _MODES.get(request.mode, RebuildMode.SWAP_WHEN_EQUAL))


def _rebuild(projection: Rebuildable, mode: RebuildMode) -> Iterator[projection_pb2.RebuildProjectionResponse]:
    news: queue.SimpleQueue[RebuildProgress | Comparison | DomainError] = queue.SimpleQueue()

    def work() -> None:
        try:
            news.put(projection.rebuild(mode=mode, progress=news.put))
        except DomainError as error:
            news.put(error)
        except Exception as error:
            log.error("rebuild crashed", projection=projection.name, exc_info=error)
            news.put(Unavailable("the rebuild failed in an unforeseen way; the service's log tells more"))

    threading.Thread(target=work, name=f"rebuild {projection.name}", daemon=True).start()
    last: RebuildProgress | None = None
    while True:
        try:
            item = news.get(timeout=PROGRESS_TIMEOUT_S)
        except queue.Empty:
            raise TimedOut(f"the rebuild made no progress for {PROGRESS_TIMEOUT_S:.0f} s; see the log") from None
        match item:
            case RebuildProgress():
                last = item
                yield _progress_message(item)
            case Comparison():
                yield _comparison_message(item, last)
                return
            case error:
                raise error


def _status_message(status: ProjectionStatus) -> projection_pb2.Projection:
    return projection_pb2.Projection(
        name=status.name,
        generation=status.generation,
        position=status.position,
        head_position=status.head_position,
        caught_up=status.is_caught_up,
        stop_reason=status.stop_reason,
    )


def _progress_message(progress: RebuildProgress) -> projection_pb2.RebuildProjectionResponse:
    return projection_pb2.RebuildProjectionResponse(
        position=progress.position, head_position=progress.head_position, events=progress.events
    )


def _comparison_message(
    comparison: Comparison, last: RebuildProgress | None
) -> projection_pb2.RebuildProjectionResponse:
    return projection_pb2.RebuildProjectionResponse(
        position=comparison.position,
        head_position=last.head_position if last else Position(0),
        events=last.events if last else 0,
        comparison=projection_pb2.RebuildComparison(
            position=comparison.position,
            live_digest=comparison.live_digest,
            rebuilt_digest=comparison.rebuilt_digest,
            equal=comparison.is_equal,
            swapped=comparison.is_swapped,
        ),
    )
