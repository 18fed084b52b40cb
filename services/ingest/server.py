"""The gRPC face of ingest: each door reads its kind of request, hands it to the intake, and words the answer."""

from collections.abc import AsyncIterator
from typing import Final, TypeAlias

import grpc

from meterlog.ingest.v1 import ingest_pb2, ingest_pb2_grpc
from services.ingest import arrow_stream
from services.ingest.admission import COLUMN_ROWS_A_ROW, JSON_MEMORY_FACTOR
from services.ingest.answer import columns_answer, receipts, report_answer, results
from services.ingest.arrow_usage import validate_stream
from services.ingest.batch_size import require_batch_size
from services.ingest.batch_stream import BatchStream, Draining, Entry
from services.ingest.cloud_event import validate_cloud_events
from services.ingest.cloud_event_request import cloud_events
from services.ingest.intake import Asked, Intake, Taken, Validate
from services.ingest.validate import validate
from services.kernel.errors import DomainError
from services.rpc.errors import shortened, status_code

INGEST_SERVICE: Final = "meterlog.ingest.v1.IngestService"
JSON_EVENT_MARK: Final = b'"specversion"'
JSON_OBJECT_MARK: Final = b"{"
"""The first stands once in each CloudEvent in JSON, unless it is written with escapes; the second twice, or once where
there are no data. So they can be counted before they are read."""

RowsRequest: TypeAlias = ingest_pb2.RecordUsageRequest | ingest_pb2.RecordUsageStreamRequest


class IngestFace(ingest_pb2_grpc.IngestServiceServicer):
    """Answers only what is durable in the log."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._draining = Draining()

    def drain(self) -> None:
        """Read streams no further; what was read of them is answered. Belongs to the event loop."""
        self._draining.begin()

    def register(self, server: grpc.aio.Server) -> None:
        """Add this face to a server."""
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(self, server)

    async def RecordUsage(
        self,
        request: ingest_pb2.RecordUsageRequest,
        context: grpc.aio.ServicerContext[ingest_pb2.RecordUsageRequest, ingest_pb2.RecordUsageResponse],
    ) -> ingest_pb2.RecordUsageResponse:
        """Record a batch of usage events, each answered by itself."""
        with self._intake.call():
            taken = await self._taken(request)
            return ingest_pb2.RecordUsageResponse(
                results=results(taken.validated, taken.recording), receipts=receipts(taken.recording)
            )

    async def RecordUsageStream(
        self,
        request_iterator: AsyncIterator[ingest_pb2.RecordUsageStreamRequest],
        context: grpc.aio.ServicerContext[ingest_pb2.RecordUsageStreamRequest, ingest_pb2.RecordUsageStreamResponse],
    ) -> AsyncIterator[ingest_pb2.RecordUsageStreamResponse]:
        """Record batches, each answered in its turn when it is durable."""
        stream = BatchStream(self._stream_entry, self._stream_answer, self._draining)
        with self._intake.stream():
            async for answer in stream.answers(request_iterator):
                yield answer

    async def RecordUsageColumns(
        self,
        request: ingest_pb2.RecordUsageColumnsRequest,
        context: grpc.aio.ServicerContext[ingest_pb2.RecordUsageColumnsRequest, ingest_pb2.RecordUsageColumnsResponse],
    ) -> ingest_pb2.RecordUsageColumnsResponse:
        """Record usage events in columns, each answered by itself."""
        with self._intake.call():
            content = request.arrow_ipc
            sizes = arrow_stream.stream_sizes(content)
            weight = -(-sizes.rows // COLUMN_ROWS_A_ROW)
            asked = Asked(sizes.rows, weight, len(content) + sizes.size_bytes, request.atomic, request.backfill)
            taken = await self._intake.take(asked, lambda now_us, prefix: validate_stream(content, now_us, prefix))
            return columns_answer(taken.validated, taken.recording)

    async def RecordCloudEvents(
        self,
        request: ingest_pb2.RecordCloudEventsRequest,
        context: grpc.aio.ServicerContext[ingest_pb2.RecordCloudEventsRequest, ingest_pb2.RecordCloudEventsResponse],
    ) -> ingest_pb2.RecordCloudEventsResponse:
        """Record CloudEvents, each answered by itself."""
        with self._intake.call():
            count = len(request.events) or _count(request.json)
            size_bytes = request.ByteSize() * JSON_MEMORY_FACTOR
            asked = Asked(count, count, size_bytes, request.atomic, request.backfill)
            taken = await self._intake.take(
                asked, lambda now_us, prefix: validate_cloud_events(cloud_events(request), now_us, prefix)
            )
            return ingest_pb2.RecordCloudEventsResponse(
                results=results(taken.validated, taken.recording), receipts=receipts(taken.recording)
            )

    async def GetUsageReport(
        self,
        request: ingest_pb2.GetUsageReportRequest,
        context: grpc.aio.ServicerContext[ingest_pb2.GetUsageReportRequest, ingest_pb2.GetUsageReportResponse],
    ) -> ingest_pb2.GetUsageReportResponse:
        """What was sent to this process since its start."""
        return report_answer(self._intake.report)

    async def _stream_entry(self, request: ingest_pb2.RecordUsageStreamRequest) -> Entry:
        try:
            require_batch_size(len(request.events))
            return Entry(await self._intake.enter(_asked(len(request.events), request)))
        except DomainError as error:
            return Entry(lambda: None, error)

    async def _stream_answer(
        self, request: ingest_pb2.RecordUsageStreamRequest, entry: Entry
    ) -> ingest_pb2.RecordUsageStreamResponse:
        try:
            with self._intake.refusals():
                if entry.refused is not None:
                    raise entry.refused
                taken = await self._intake.take_entered(*_rows(request))
        except DomainError as error:
            return ingest_pb2.RecordUsageStreamResponse(sequence=request.sequence, refusal=_refusal(error))
        return ingest_pb2.RecordUsageStreamResponse(
            sequence=request.sequence,
            results=results(taken.validated, taken.recording),
            receipts=receipts(taken.recording),
        )

    async def _taken(self, request: ingest_pb2.RecordUsageRequest) -> Taken:
        require_batch_size(len(request.events))
        return await self._intake.take(*_rows(request))


def _rows(request: RowsRequest) -> tuple[Asked, Validate]:
    """What a request for rows asks for, and how it is validated."""
    asked = _asked(len(request.events), request)
    return asked, lambda now_us, prefix: validate(request.events, now_us, prefix)


def _count(json: bytes) -> int:
    """About how many CloudEvents there are; never less than half of them, however they are written."""
    return max(json.count(JSON_EVENT_MARK), json.count(JSON_OBJECT_MARK) // 2)


def _asked(count: int, request: RowsRequest) -> Asked:
    return Asked(count, count, request.ByteSize(), request.atomic, request.backfill)


def _refusal(error: DomainError) -> ingest_pb2.BatchRefusal:
    return ingest_pb2.BatchRefusal(
        code=status_code(error).value[0], reason=error.reason, message=shortened(error.message)
    )
