"""An ingest service in memory, for the tests of programs that record usage.

    with IngestInMemory() as ingest, Meterlog(ingest.address) as meterlog:
        meterlog.record(type="llm.completion", subject="tenant-0").result()
    assert len(ingest.recorded) == 1

It keeps the promise that matters, each (source, id) once, and checks nothing else but that the id is not empty. Faults
can be scripted, one for each call (or batch of a stream), to see what a program does when the network or the service
fails.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn, Self

import grpc

from meterlog.client.testing_cloud_events import events_of_cloud_events
from meterlog.client.testing_columns import events_of
from meterlog.ingest.v1 import ingest_pb2
from meterlog.ingest.v1.ingest_pb2_grpc import IngestServiceServicer, add_IngestServiceServicer_to_server

_GATE_WAIT_MAX_S = 30.0
_THREADS_MAX = 16
_EXCEPTIONS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one call: its status, and whether the usage was recorded, so that only the answer is lost.

    With a `gate` the call first waits until the gate is set. Status OK answers as if nothing had happened.
    """

    status: grpc.StatusCode = grpc.StatusCode.OK
    is_recorded: bool = False
    gate: threading.Event | None = None


class IngestInMemory:
    """A gRPC server on a free loopback port, running while it is entered as a context manager."""

    def __init__(self, faults: Iterable[Fault] = (), address: str = "127.0.0.1:0") -> None:
        self._servicer = _Servicer(faults)
        self._server = grpc.server(ThreadPoolExecutor(_THREADS_MAX))
        add_IngestServiceServicer_to_server(self._servicer, self._server)
        port = self._server.add_insecure_port(address)
        self.address = f"127.0.0.1:{port}"

    @property
    def recorded(self) -> tuple[ingest_pb2.UsageEvent, ...]:
        """The usage events in the log, in its order."""
        with self._servicer.lock:
            return tuple(self._servicer.events.values())

    @property
    def batches(self) -> tuple[int, ...]:
        """How many usage events each call carried, failed calls included."""
        with self._servicer.lock:
            return tuple(self._servicer.batches)

    @property
    def backfills(self) -> frozenset[str]:
        """The keys of the backfills that calls named; "" for calls without."""
        with self._servicer.lock:
            return frozenset(self._servicer.backfills)

    @property
    def api_keys(self) -> frozenset[str]:
        """The API keys that calls carried."""
        with self._servicer.lock:
            return frozenset(self._servicer.api_keys)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(grace=None).wait(_GATE_WAIT_MAX_S)


class _Servicer(IngestServiceServicer):
    def __init__(self, faults: Iterable[Fault]) -> None:
        self._faults = iter(faults)
        self.lock = threading.Lock()
        self.events: dict[tuple[str, str], ingest_pb2.UsageEvent] = {}
        self.positions: dict[tuple[str, str], int] = {}
        self.batches: list[int] = []
        self.backfills: set[str] = set()
        self.api_keys: set[str] = set()

    def RecordUsage(  # noqa: N802 - the name in the contract
        self, request: ingest_pb2.RecordUsageRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.RecordUsageResponse:
        """Record a batch, or fail as the script says."""
        return ingest_pb2.RecordUsageResponse(results=self._answer(request.events, request.backfill, context))

    def RecordUsageStream(  # noqa: N802 - the name in the contract
        self, request_iterator: Iterator[ingest_pb2.RecordUsageStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[ingest_pb2.RecordUsageStreamResponse]:
        """Record batches as they come, or fail as the script says; every batch takes one fault."""
        for request in request_iterator:
            results = self._answer(request.events, request.backfill, context)
            yield ingest_pb2.RecordUsageStreamResponse(sequence=request.sequence, results=results)

    def RecordUsageColumns(  # noqa: N802 - the name in the contract
        self, request: ingest_pb2.RecordUsageColumnsRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.RecordUsageColumnsResponse:
        """Record usage events in columns, or fail as the script says; needs pyarrow."""
        results = self._answer(tuple(events_of(request.arrow_ipc)), request.backfill, context)
        counts = Counter(result.outcome for result in results)
        plain = (ingest_pb2.USAGE_OUTCOME_RECORDED, ingest_pb2.USAGE_OUTCOME_DUPLICATE)
        rows = [
            ingest_pb2.RowResult(row=row, result=result)
            for row, result in enumerate(results)
            if result.outcome not in plain
        ]
        return ingest_pb2.RecordUsageColumnsResponse(
            recorded_count=counts[ingest_pb2.USAGE_OUTCOME_RECORDED],
            duplicate_count=counts[ingest_pb2.USAGE_OUTCOME_DUPLICATE],
            conflict_count=counts[ingest_pb2.USAGE_OUTCOME_CONFLICT],
            invalid_count=counts[ingest_pb2.USAGE_OUTCOME_INVALID],
            exceptions=rows[:_EXCEPTIONS_MAX],
        )

    def RecordCloudEvents(  # noqa: N802 - the name in the contract
        self, request: ingest_pb2.RecordCloudEventsRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.RecordCloudEventsResponse:
        """Record CloudEvents, or fail as the script says."""
        events = tuple(events_of_cloud_events(request))
        return ingest_pb2.RecordCloudEventsResponse(results=self._answer(events, request.backfill, context))

    def GetUsageReport(  # noqa: N802 - the name in the contract
        self, _request: ingest_pb2.GetUsageReportRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.GetUsageReportResponse:
        """Not here: what became of each usage event is in `recorded` and in its answer."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no report in memory")
        raise AssertionError("abort always raises")

    def _answer(
        self, events: Sequence[ingest_pb2.UsageEvent], backfill: str, context: grpc.ServicerContext
    ) -> list[ingest_pb2.UsageResult]:
        with self.lock:
            fault = next(self._faults, Fault())
            self.batches.append(len(events))
            self.backfills.add(backfill)
            self.api_keys.update(str(value) for key, value in context.invocation_metadata() if key == "x-api-key")
        if fault.gate is not None:
            fault.gate.wait(_GATE_WAIT_MAX_S)
        if fault.status is not grpc.StatusCode.OK and not fault.is_recorded:
            _fail(context, fault)
        with self.lock:
            results = [self._record(event) for event in events]
        if fault.status is not grpc.StatusCode.OK:
            _fail(context, fault)
        return results

    def _record(self, event: ingest_pb2.UsageEvent) -> ingest_pb2.UsageResult:
        if not event.id:
            return ingest_pb2.UsageResult(
                outcome=ingest_pb2.USAGE_OUTCOME_INVALID, reason="ID_EMPTY", field="id", message="id is empty; set it"
            )
        key = (event.source, event.id)
        if key not in self.events:
            self.events[key] = event
            self.positions[key] = len(self.batches)
            return ingest_pb2.UsageResult(outcome=ingest_pb2.USAGE_OUTCOME_RECORDED, position=self.positions[key])
        if self.events[key] == event:
            return ingest_pb2.UsageResult(outcome=ingest_pb2.USAGE_OUTCOME_DUPLICATE, position=self.positions[key])
        return ingest_pb2.UsageResult(
            outcome=ingest_pb2.USAGE_OUTCOME_CONFLICT,
            position=self.positions[key],
            reason="CONTENT_DIFFERS",
            message="recorded before with other content; give new usage a new id",
        )


def _fail(context: grpc.ServicerContext, fault: Fault) -> NoReturn:
    context.abort(fault.status, "scripted fault")
    raise AssertionError("abort always raises")
