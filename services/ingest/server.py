"""The gRPC face of ingest."""

import grpc

from meterlog.ingest.v1 import ingest_pb2, ingest_pb2_grpc
from services.ingest.admission import Admission
from services.ingest.answer import NOTHING_RECORDED, answer
from services.ingest.compute import computed
from services.ingest.recorder import Recorder
from services.ingest.validate import validate
from services.kernel.clock import Clock, epoch_us
from services.kernel.errors import InvalidInput

INGEST_SERVICE = "meterlog.ingest.v1.IngestService"
USAGE_EVENTS_MAX = 10_000


class IngestFace(ingest_pb2_grpc.IngestServiceServicer):
    """Answers only what is durable in the log."""

    def __init__(self, recorder: Recorder, clock: Clock) -> None:
        self._recorder = recorder
        self._clock = clock
        self._admission = Admission()

    def register(self, server: grpc.aio.Server) -> None:
        """Add this face to a server."""
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(self, server)

    async def RecordUsage(
        self,
        request: ingest_pb2.RecordUsageRequest,
        context: grpc.aio.ServicerContext[ingest_pb2.RecordUsageRequest, ingest_pb2.RecordUsageResponse],
    ) -> ingest_pb2.RecordUsageResponse:
        """Record a batch of usage events, each answered by itself."""
        _require_batch_size(len(request.events))
        with self._admission.held(len(request.events), request.ByteSize()):
            now_us = epoch_us(self._clock.now())
            validated = await computed(len(request.events), lambda: validate(request.events, now_us))
            if not validated.rows:
                return answer(validated, NOTHING_RECORDED)
            return answer(validated, await self._recorder.record(validated.columns))


def _require_batch_size(count: int) -> None:
    if not 1 <= count <= USAGE_EVENTS_MAX:
        raise InvalidInput(
            f"the batch has {count} usage events; send 1 to {USAGE_EVENTS_MAX}", field="events", reason="BATCH_SIZE"
        )
