"""The gRPC face of the aggregator: one line a method."""

import grpc

from meterlog.aggregator.v1 import aggregator_pb2, aggregator_pb2_grpc
from services.aggregator.api.meters import Meters
from services.aggregator.api.periods import Periods
from services.aggregator.api.totals import Totals
from services.aggregator.api.usage import Usage
from services.aggregator.api.usage_events import UsageEvents
from services.rpc.deadline import time_left_s

AGGREGATOR_SERVICE = "meterlog.aggregator.v1.AggregatorService"


class AggregatorFace(aggregator_pb2_grpc.AggregatorServiceServicer):
    """Hands each request to the noun that it is about. Handlers block, so they run in the thread pool."""

    def __init__(
        self, meters: Meters, usage: Usage, totals: Totals, usage_events: UsageEvents, periods: Periods
    ) -> None:
        self._meters = meters
        self._usage = usage
        self._totals = totals
        self._usage_events = usage_events
        self._periods = periods

    def register(self, server: grpc.aio.Server) -> None:
        """Add this face to a server."""
        aggregator_pb2_grpc.add_AggregatorServiceServicer_to_server(self, server)

    def CreateMeter(
        self, request: aggregator_pb2.CreateMeterRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.CreateMeterResponse:
        """Create a meter."""
        return self._meters.create(request, time_left_s(context))

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

    def UpdateMeter(
        self, request: aggregator_pb2.UpdateMeterRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.UpdateMeterResponse:
        """Change a meter's name or unit."""
        return self._meters.update(request, time_left_s(context))

    def ArchiveMeter(
        self, request: aggregator_pb2.ArchiveMeterRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.ArchiveMeterResponse:
        """Archive a meter."""
        return self._meters.archive(request, time_left_s(context))

    def QueryUsage(
        self, request: aggregator_pb2.QueryUsageRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.QueryUsageResponse:
        """The usage of one meter over a range."""
        return self._usage.query(request, time_left_s(context))

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

    def ListClosedPeriods(
        self, request: aggregator_pb2.ListClosedPeriodsRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.ListClosedPeriodsResponse:
        """Closed periods, newest first."""
        return self._periods.list(request)
