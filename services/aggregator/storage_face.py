"""The gRPC face of stored usage: one line a method."""

from typing import Protocol

import grpc

from meterlog.aggregator.v1 import storage_pb2, storage_pb2_grpc
from services.aggregator.api.storage_archive import StorageArchive

STORAGE_SERVICE = "meterlog.aggregator.v1.UsageStorageService"

WORK_TIMEOUT_S = 600.0
"""How long a call may work that was given no deadline, and at most."""


class Checks(Protocol):
    """Checks of what the tables say against an independent count of the log."""

    def run(self, request: storage_pb2.CheckUsageRequest, left_s: float) -> storage_pb2.CheckUsageResponse:
        """Check now."""

    def get(self, request: storage_pb2.GetUsageCheckRequest) -> storage_pb2.GetUsageCheckResponse:
        """The last check."""


class StorageFace(storage_pb2_grpc.UsageStorageServiceServicer):
    """Hands each request to the noun that it is about. Handlers block, so they run in the thread pool."""

    def __init__(self, archive: StorageArchive, checks: Checks) -> None:
        self._archive = archive
        self.checks = checks

    def register(self, server: grpc.aio.Server) -> None:
        """Add this face to a server."""
        storage_pb2_grpc.add_UsageStorageServiceServicer_to_server(self, server)

    def GetUsageArchive(
        self, request: storage_pb2.GetUsageArchiveRequest, context: grpc.ServicerContext
    ) -> storage_pb2.GetUsageArchiveResponse:
        """Where the archive stands."""
        return self._archive.get(request)

    def CompactUsageArchive(
        self, request: storage_pb2.CompactUsageArchiveRequest, context: grpc.ServicerContext
    ) -> storage_pb2.CompactUsageArchiveResponse:
        """Bring the archive up to date."""
        return self._archive.compact(request, _working_time_s(context))

    def CheckUsage(
        self, request: storage_pb2.CheckUsageRequest, context: grpc.ServicerContext
    ) -> storage_pb2.CheckUsageResponse:
        """Check what the tables say."""
        return self.checks.run(request, _working_time_s(context))

    def GetUsageCheck(
        self, request: storage_pb2.GetUsageCheckRequest, context: grpc.ServicerContext
    ) -> storage_pb2.GetUsageCheckResponse:
        """The last check."""
        return self.checks.get(request)


def _working_time_s(context: grpc.ServicerContext) -> float:
    """Seconds until the call must be answered: these calls may work longer than others."""
    remaining: float | None = context.time_remaining()
    return WORK_TIMEOUT_S if remaining is None else max(0.0, min(remaining, WORK_TIMEOUT_S))
