"""The gRPC face of corrections and backfills: one line a method."""

import grpc

from meterlog.aggregator.v1 import correction_pb2, correction_pb2_grpc
from services.aggregator.api.backfills import Backfills
from services.aggregator.api.corrections import Corrections
from services.aggregator.waiting.lasting_calls import LastingCalls

CORRECTION_SERVICE = "meterlog.aggregator.v1.CorrectionService"


class CorrectionFace(correction_pb2_grpc.CorrectionServiceServicer):
    """Hands each request to the noun that it is about. Those that decide may last, and hold no thread of the pool."""

    def __init__(self, corrections: Corrections, backfills: Backfills, lasting: LastingCalls) -> None:
        self._corrections = corrections
        self._backfills = backfills
        self._lasting = lasting

    def register(self, server: grpc.aio.Server) -> None:
        """Add this face to a server."""
        correction_pb2_grpc.add_CorrectionServiceServicer_to_server(self, server)

    async def PreviewCancellation(
        self, request: correction_pb2.PreviewCancellationRequest, context: grpc.ServicerContext
    ) -> correction_pb2.PreviewCancellationResponse:
        """What a cancellation would hit."""
        return await self._lasting.run(self._corrections.preview, request, context)

    async def CancelUsage(
        self, request: correction_pb2.CancelUsageRequest, context: grpc.ServicerContext
    ) -> correction_pb2.CancelUsageResponse:
        """Cancel usage events."""
        return await self._lasting.run(self._corrections.cancel, request, context)

    async def AmendUsage(
        self, request: correction_pb2.AmendUsageRequest, context: grpc.ServicerContext
    ) -> correction_pb2.AmendUsageResponse:
        """Amend one usage event."""
        return await self._lasting.run(self._corrections.amend, request, context)

    async def RevertCorrection(
        self, request: correction_pb2.RevertCorrectionRequest, context: grpc.ServicerContext
    ) -> correction_pb2.RevertCorrectionResponse:
        """Revert a correction."""
        return await self._lasting.run(self._corrections.revert, request, context)

    def GetCorrection(
        self, request: correction_pb2.GetCorrectionRequest, context: grpc.ServicerContext
    ) -> correction_pb2.GetCorrectionResponse:
        """One correction."""
        return self._corrections.get(request)

    def ListCorrections(
        self, request: correction_pb2.ListCorrectionsRequest, context: grpc.ServicerContext
    ) -> correction_pb2.ListCorrectionsResponse:
        """Corrections, newest first."""
        return self._corrections.list(request)

    async def OpenBackfill(
        self, request: correction_pb2.OpenBackfillRequest, context: grpc.ServicerContext
    ) -> correction_pb2.OpenBackfillResponse:
        """Open a backfill."""
        return await self._lasting.run(self._backfills.open, request, context)

    async def CloseBackfill(
        self, request: correction_pb2.CloseBackfillRequest, context: grpc.ServicerContext
    ) -> correction_pb2.CloseBackfillResponse:
        """Close a backfill."""
        return await self._lasting.run(self._backfills.close, request, context)

    async def RevertBackfill(
        self, request: correction_pb2.RevertBackfillRequest, context: grpc.ServicerContext
    ) -> correction_pb2.RevertBackfillResponse:
        """Revert a backfill."""
        return await self._lasting.run(self._backfills.revert, request, context)

    def GetBackfill(
        self, request: correction_pb2.GetBackfillRequest, context: grpc.ServicerContext
    ) -> correction_pb2.GetBackfillResponse:
        """One backfill."""
        return self._backfills.get(request)

    def ListBackfills(
        self, request: correction_pb2.ListBackfillsRequest, context: grpc.ServicerContext
    ) -> correction_pb2.ListBackfillsResponse:
        """Backfills, newest first."""
        return self._backfills.list(request)
