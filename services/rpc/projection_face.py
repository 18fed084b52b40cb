"""The gRPC face of projections: list them, rebuild one with progress, decide about events that were set aside."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import structlog

from meterlog.common.v1 import projection_pb2, projection_pb2_grpc
from services.eventstore.event import BEGINNING, Position
from services.kernel.clock import Clock
from services.kernel.errors import DomainError, InvalidInput, NotFound, Overloaded, RuleViolated, Unavailable
from services.projection.operable import Operable
from services.projection.owner_lock import Follows
from services.projection.projection import Comparison, HeldRebuild, Rebuildable
from services.projection.skipping import Decision
from services.rpc.interceptor import caller_of_call
from services.rpc.pages import decode_token, encode_token, page_size
from services.rpc.projection_messages import held_message, parked_message, skipped_message, status_message
from services.rpc.rebuild_call import RebuildCall, RebuildOrder, parse_order

PROJECTION_SERVICE = "meterlog.common.v1.ProjectionService"

REBUILDS_MAX = 4
"""Rebuilds that run at once in one service; each holds a page of events in memory and takes turns at the write lock."""

log = structlog.get_logger()


class ProjectionFace(projection_pb2_grpc.ProjectionServiceServicer):
    """The projections of one service, for operators."""

    def __init__(self, projections: Sequence[Rebuildable], clock: Clock) -> None:
        self._projections = {projection.name: projection for projection in projections}
        self._clock = clock
        self._calls: dict[str, RebuildCall] = {}
        self._calling = threading.Lock()

    def register(self, server: grpc.aio.Server) -> None:
        """Add this face to a server."""
        projection_pb2_grpc.add_ProjectionServiceServicer_to_server(self, server)

    def ListProjections(
        self, request: projection_pb2.ListProjectionsRequest, context: grpc.ServicerContext
    ) -> projection_pb2.ListProjectionsResponse:
        """The projections of this service, by name."""
        known = [self._projections[name] for name in sorted(self._projections)]
        shown = [status_message(each.status(), isinstance(each, Operable)) for each in known]
        return projection_pb2.ListProjectionsResponse(projections=shown)

    def RebuildProjection(
        self, request: projection_pb2.RebuildProjectionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Iterator[projection_pb2.RebuildProjectionResponse]:
        """Rebuild one projection; it ends when the caller goes away. Called on the event loop, so it only sets out."""
        call = RebuildCall()
        context.add_done_callback(lambda _: call.cancel())  # type: ignore[arg-type]  # the stub names a class, any callable will do
        return self._rebuild(request, call)

    def CancelRebuild(
        self, request: projection_pb2.CancelRebuildRequest, context: grpc.ServicerContext
    ) -> projection_pb2.CancelRebuildResponse:
        """End the rebuild that runs."""
        projection = self._named(request.name)
        with self._calling:
            call = self._calls.get(projection.name)
        if call is None:
            _require_rebuilt_here(projection)
            raise RuleViolated(f'no rebuild of "{projection.name}" runs', reason="NO_REBUILD_RUNS")
        call.cancel()
        return projection_pb2.CancelRebuildResponse()

    def DiscardRebuilds(
        self, request: projection_pb2.DiscardRebuildsRequest, context: grpc.ServicerContext
    ) -> projection_pb2.DiscardRebuildsResponse:
        """Drop what is held."""
        discarded = self._operable(request.name).discard(Position(request.position) if request.position else None)
        return projection_pb2.DiscardRebuildsResponse(discarded=map(held_message, discarded))

    def ListParkedEvents(
        self, request: projection_pb2.ListParkedEventsRequest, context: grpc.ServicerContext
    ) -> projection_pb2.ListParkedEventsResponse:
        """What waits for a decision."""
        projection = self._operable(request.name)
        size, after = page_size(request.page_size), Position(_place(request.page_token, BEGINNING))
        parked = projection.parked(after, size)
        stopping = projection.stopping_event()
        return projection_pb2.ListParkedEventsResponse(
            events=map(parked_message, parked),
            stopping=parked_message(stopping) if stopping else None,
            next_page_token=encode_token(parked[-1].position) if len(parked) == size else "",
        )

    def SkipParkedEvent(
        self, request: projection_pb2.SkipParkedEventRequest, context: grpc.ServicerContext
    ) -> projection_pb2.SkipParkedEventResponse:
        """Leave an event out for ever."""
        projection = self._operable(request.name)
        if request.position <= BEGINNING:
            raise InvalidInput(f"{request.position} is no position of an event", field="position")
        decision = Decision(request.reason, request.decided_by, caller_of_call.get().name, self._clock.now())
        skipped = projection.skip(Position(request.position), decision)
        log.warning("event skipped", projection=projection.name, position=request.position, reason=skipped.reason)
        return projection_pb2.SkipParkedEventResponse(skipped=skipped_message(skipped))

    def ListSkippedEvents(
        self, request: projection_pb2.ListSkippedEventsRequest, context: grpc.ServicerContext
    ) -> projection_pb2.ListSkippedEventsResponse:
        """What was decided, oldest first."""
        skipped = self._operable(request.name).skipped()
        start = _place(request.page_token, 0)
        end = start + page_size(request.page_size)
        return projection_pb2.ListSkippedEventsResponse(
            events=map(skipped_message, skipped[start:end]),
            next_page_token=encode_token(end) if end < len(skipped) else "",
        )

    def _named(self, name: str) -> Rebuildable:
        projection = self._projections.get(name)
        if projection is None:
            known = ", ".join(sorted(self._projections)) or "none"
            raise NotFound(f'no projection "{name}" in this service; it has {known}', reason="PROJECTION_NOT_FOUND")
        return projection

    def _operable(self, name: str) -> Operable:
        projection = self._named(name)
        if not isinstance(projection, Operable):
            raise RuleViolated(
                f'"{name}" sets no events aside and holds no rebuilds; when it stops, its stop_reason says why',
                reason="NOT_OPERABLE",
            )
        return projection

    def _rebuild(
        self, request: projection_pb2.RebuildProjectionRequest, call: RebuildCall
    ) -> Iterator[projection_pb2.RebuildProjectionResponse]:
        projection = self._named(request.name)
        order = parse_order(request, projection)
        self._enter(projection.name, call)
        worker = threading.Thread(
            target=self._work, args=(projection, order, call), name=f"rebuild {projection.name}", daemon=True
        )
        worker.start()
        yield from call.messages(order)

    def _work(self, projection: Rebuildable, order: RebuildOrder, call: RebuildCall) -> None:
        try:
            outcome: Comparison | HeldRebuild | DomainError = order.carry_out(projection, call)
        except DomainError as error:
            outcome = error
        except Exception as error:
            log.error("rebuild crashed", projection=projection.name, exc_info=error)
            outcome = Unavailable("the rebuild failed in an unforeseen way; the service's log tells more")
        self._leave(projection.name)
        call.end(outcome)

    def _enter(self, name: str, call: RebuildCall) -> None:
        with self._calling:
            if name in self._calls:
                raise RuleViolated(f'a rebuild of "{name}" runs already; wait for it', reason="REBUILD_RUNS")
            if len(self._calls) >= REBUILDS_MAX:
                raise Overloaded(f"{REBUILDS_MAX} rebuilds run in this service already; wait for one of them")
            self._calls[name] = call

    def _leave(self, name: str) -> None:
        with self._calling:
            del self._calls[name]


def _require_rebuilt_here(projection: Rebuildable) -> None:
    """Raises Follows where another replica folds the projection, and so is the only one that rebuilds it."""
    leader = projection.status().leader
    if leader:
        raise Follows(
            f'another replica ({leader}) folds "{projection.name}", and only that one rebuilds it; ask it',
            metadata={"leader": leader},
        )


def _place(token: str, first: int) -> int:
    """Where a page begins; raises InvalidInput for a token of another list."""
    match decode_token(token):
        case ():
            return first
        case (int() as place,) if place >= 0:
            return place
        case _:
            raise InvalidInput("page_token is not one that this list gave; start from the first", field="page_token")
