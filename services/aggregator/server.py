"""The gRPC face of the aggregator: one line a method."""

from collections.abc import AsyncIterator

import grpc

from meterlog.aggregator.v1 import aggregator_pb2, aggregator_pb2_grpc
from services.aggregator.api.counting import CountingState
from services.aggregator.api.meters import Meters
from services.aggregator.api.periods import Periods
from services.aggregator.api.totals import Totals
from services.aggregator.api.unmatched import Unmatched
from services.aggregator.api.usage import Usage
from services.aggregator.api.usage_events import UsageEvents
from services.aggregator.api.watch import UsageWatch
from services.aggregator.waiting.lasting_calls import LastingCalls
from services.rpc.deadline import time_left_s

AGGREGATOR_SERVICE = "meterlog.aggregator.v1.AggregatorService"


class AggregatorFace(aggregator_pb2_grpc.AggregatorServiceServicer):
    """Hands each request to the noun that it is about.

    Handlers block, in a pool of threads; those that may last are coroutines, which hold no thread of that pool.
    """

    def __init__(
        self,
        meters: Meters,
        usage: Usage,
        watch: UsageWatch,
        totals: Totals,
        usage_events: UsageEvents,
        unmatched: Unmatched,
        periods: Periods,
        counting: CountingState,
        lasting: LastingCalls,
    ) -> None:
        self._meters = meters
        self._usage = usage
        self._watch = watch
        self._totals = totals
        self._usage_events = usage_events
        self._unmatched = unmatched
        self._periods = periods
        self._counting = counting
        self._lasting = lasting

    def register(self, server: grpc.aio.Server) -> None:
        """Add this face to a server."""
        aggregator_pb2_grpc.add_AggregatorServiceServicer_to_server(self, server)

    async def CreateMeter(
        self, request: aggregator_pb2.CreateMeterRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.CreateMeterResponse:
        """Create a meter."""
        return await self._lasting.run(self._meters.create, request, context)

    def GetMeter(
        self, request: aggregator_pb2.GetMeterRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.GetMeterResponse:
        """One meter."""
        return self._meters.get(request)

    def ListMeters(
        self, request: aggregator_pb2.ListMetersRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.ListMetersResponse:
        """Meters by slug."""
        return self._meters.list(request)

    async def UpdateMeter(
        self, request: aggregator_pb2.UpdateMeterRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.UpdateMeterResponse:
        """Change a meter's name or unit."""
        return await self._lasting.run(self._meters.update, request, context)

    async def RedefineMeter(
        self, request: aggregator_pb2.RedefineMeterRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.RedefineMeterResponse:
        """Change what a meter counts."""
        return await self._lasting.run(self._meters.redefine, request, context)

    async def PreviewMeter(
        self, request: aggregator_pb2.PreviewMeterRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.PreviewMeterResponse:
        """What a meter would say of past usage."""
        return await self._lasting.run(self._meters.preview, request, context)

    def ListMeterVersions(
        self, request: aggregator_pb2.ListMeterVersionsRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.ListMeterVersionsResponse:
        """What a meter said over time."""
        return self._meters.versions(request)

    async def ArchiveMeter(
        self, request: aggregator_pb2.ArchiveMeterRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.ArchiveMeterResponse:
        """Archive a meter."""
        return await self._lasting.run(self._meters.archive, request, context)

    def GetCounting(
        self, request: aggregator_pb2.GetCountingRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.GetCountingResponse:
        """How far usage is counted."""
        return self._counting.get(request)

    def QueryUsage(
        self, request: aggregator_pb2.QueryUsageRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.QueryUsageResponse:
        """The usage of one meter over a range."""
        return self._usage.query(request, time_left_s(context))

    def WatchUsage(
        self, request: aggregator_pb2.WatchUsageRequest, context: grpc.ServicerContext
    ) -> AsyncIterator[aggregator_pb2.WatchUsageResponse]:
        """The usage of one meter, and what changes of it. A coroutine: it holds no thread of the pool."""
        return self._watch.watch(request)

    def QueryTotals(
        self, request: aggregator_pb2.QueryTotalsRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.QueryTotalsResponse:
        """The totals of several meters at one log position."""
        return self._totals.query(request, time_left_s(context))

    def GetUsageEvent(
        self, request: aggregator_pb2.GetUsageEventRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.GetUsageEventResponse:
        """One usage event by source and id."""
        return self._usage_events.get(request, time_left_s(context))

    def ListUsageEvents(
        self, request: aggregator_pb2.ListUsageEventsRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.ListUsageEventsResponse:
        """Usage events in the order of the log."""
        return self._usage_events.list(request, time_left_s(context))

    def ListUnmatchedUsage(
        self, request: aggregator_pb2.ListUnmatchedUsageRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.ListUnmatchedUsageResponse:
        """Types that no meter in use counts."""
        return self._unmatched.list(request)

    def GetPeriodUsage(
        self, request: aggregator_pb2.GetPeriodUsageRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.GetPeriodUsageResponse:
        """The usage of one customer in one period, now and as closed."""
        return self._periods.usage(request, time_left_s(context))

    def ClosePeriod(
        self, request: aggregator_pb2.ClosePeriodRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.ClosePeriodResponse:
        """Close a period now."""
        return self._periods.close(request, time_left_s(context))

    def ListClosedPeriods(
        self, request: aggregator_pb2.ListClosedPeriodsRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.ListClosedPeriodsResponse:
        """Closed periods, newest first."""
        return self._periods.list(request)
