"""The doors of ingest, as one kind of function each: usage events in, what became of each out."""

import queue
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import grpc
import pyarrow as pa

from meterlog.ingest.v1 import ingest_pb2 as api
from meterlog.ingest.v1.ingest_pb2_grpc import IngestServiceStub
from services.kernel.timestamp import to_timestamp
from tests.crash.metering.calls import CALL_TIMEOUT_S
from tests.crash.metering.plain_log import Name
from tests.plain_usage import Event

Usage: TypeAlias = Sequence[tuple[Name, Event]]
Answer: TypeAlias = tuple[list[tuple[str, int]], list[api.Receipt]]
"""Outcome and position of each usage event, 0 where the door tells none; and the receipts."""

Door: TypeAlias = Callable[[grpc.Channel, Usage, str], Answer]
"""Channel, usage events, and the key of a backfill or none. Raises grpc.RpcError."""

STREAM_PARTS: Final = 4
_PREFIX: Final = "USAGE_OUTCOME_"


def rows(channel: grpc.Channel, usage: Usage, backfill: str = "") -> Answer:
    """RecordUsage."""
    request = api.RecordUsageRequest(events=map(message, usage), backfill=backfill)
    return _answered(IngestServiceStub(channel).RecordUsage(request, timeout=CALL_TIMEOUT_S))


def atomic(channel: grpc.Channel, usage: Usage, backfill: str = "") -> Answer:
    """RecordUsage, all or nothing."""
    request = api.RecordUsageRequest(events=map(message, usage), backfill=backfill, atomic=True)
    return _answered(IngestServiceStub(channel).RecordUsage(request, timeout=CALL_TIMEOUT_S))


def stream(channel: grpc.Channel, usage: Usage, backfill: str = "") -> Answer:
    """RecordUsageStream, in several batches that are under way at once."""
    size = max(1, len(usage) // STREAM_PARTS)
    parts = [usage[start : start + size] for start in range(0, len(usage), size)]
    requests: queue.SimpleQueue[api.RecordUsageStreamRequest | None] = queue.SimpleQueue()
    for number, part in enumerate(parts):
        requests.put(api.RecordUsageStreamRequest(sequence=number, events=map(message, part), backfill=backfill))
    outcomes: list[tuple[str, int]] = []
    receipts: list[api.Receipt] = []
    answers = IngestServiceStub(channel).RecordUsageStream(_taken(requests), timeout=CALL_TIMEOUT_S)
    try:
        for number, response in enumerate(answers):
            if response.HasField("refusal"):
                raise Refused(response.refusal)
            assert response.sequence == number, "answers come in the order of the requests"
            some, of_them = _answered(response)
            outcomes += some
            receipts += of_them
            if number + 1 == len(parts):
                requests.put(None)
    finally:
        answers.cancel()
        requests.put(None)
    assert len(outcomes) == len(usage), "a stream that ended in order answered everything"
    return outcomes, receipts


def columns(channel: grpc.Channel, usage: Usage, backfill: str = "") -> Answer:
    """RecordUsageColumns."""
    request = api.RecordUsageColumnsRequest(arrow_ipc=_arrow(usage), backfill=backfill)
    response = IngestServiceStub(channel).RecordUsageColumns(request, timeout=CALL_TIMEOUT_S)
    outcomes = [("recorded", 0)] * len(usage)
    for exception in response.exceptions:
        outcomes[exception.row] = _outcome(exception.result)
    assert outcomes.count(("recorded", 0)) == response.recorded_count, "fewer than a thousand are all told"
    return outcomes, list(response.receipts)


DOORS: Final[dict[str, Door]] = {"rows": rows, "atomic": atomic, "stream": stream, "columns": columns}


class Refused(grpc.RpcError):
    """A batch of a stream was refused whole, as a call is with a status."""

    def __init__(self, refusal: api.BatchRefusal) -> None:
        self._refusal = refusal

    def code(self) -> grpc.StatusCode:
        """As of a call."""
        return next(code for code in grpc.StatusCode if code.value[0] == self._refusal.code)

    def trailing_metadata(self) -> tuple[Any, ...]:
        """A batch of a stream has none."""
        return ()

    def details(self) -> str:
        """As of a call."""
        return f"{self._refusal.reason}: {self._refusal.message}"


def message(usage: tuple[Name, Event]) -> api.UsageEvent:
    """A usage event as it is sent."""
    (source, name), event = usage
    return api.UsageEvent(
        id=name,
        source=source,
        type=event.type,
        subject=event.subject,
        time=to_timestamp(event.at),
        value=format(event.value, "f"),
        properties=event.properties,
    )


def _answered(response: Any) -> Answer:
    return [_outcome(result) for result in response.results], list(response.receipts)


def _outcome(result: api.UsageResult) -> tuple[str, int]:
    return api.UsageOutcome.Name(result.outcome).removeprefix(_PREFIX).lower(), result.position


def _taken(requests: queue.SimpleQueue[api.RecordUsageStreamRequest | None]) -> Iterator[api.RecordUsageStreamRequest]:
    while (request := requests.get(timeout=CALL_TIMEOUT_S)) is not None:
        yield request


def _arrow(usage: Usage) -> bytes:
    keys = sorted({key for _, event in usage for key in event.properties})
    batch = pa.RecordBatch.from_pydict(
        {
            "id": pa.array([name for (_, name), _ in usage], pa.utf8()),
            "source": pa.array([source for (source, _), _ in usage], pa.utf8()).dictionary_encode(),
            "type": pa.array([event.type for _, event in usage], pa.utf8()),
            "subject": pa.array([event.subject for _, event in usage], pa.utf8()).dictionary_encode(),
            "time": pa.array([event.at for _, event in usage], pa.timestamp("us", "UTC")),
            "value": pa.array([event.value for _, event in usage], pa.decimal128(38, 12)),
            **{f"p.{key}": pa.array([event.properties.get(key) for _, event in usage], pa.utf8()) for key in keys},
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())
