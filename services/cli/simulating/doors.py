"""The doors that simulated usage goes through, each as a way to send one batch and count what became of it."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.client import ColumnsResult, Failure, RetryPolicy, UsageResult
from meterlog.client.channel import Connection, open_channel
from meterlog.client.columns import encoded_requests
from meterlog.client.delivery import BatchSender, ColumnSender
from meterlog.client.stream import StreamWindow
from meterlog.client.streaming import StreamSender
from meterlog.ingest.v1.ingest_pb2 import UsageEvent
from services.cli.failure import CommandFailed
from services.kernel.clock import monotonic_s

PATIENCE: Final = RetryPolicy(give_up_after_s=30.0, call_timeout_s=30.0, delay_max_s=1.0)


_PROPERTY_PREFIX: Final = "p."
_MICROSECONDS: Final = 1_000_000


class Door(StrEnum):
    """How usage reaches the ingest service."""

    ROWS = "rows"
    COLUMNS = "columns"
    STREAM = "stream"
    SINGLE = "single"


ROWS_PER_CALL: Final = {Door.ROWS: 1_000, Door.COLUMNS: 10_000, Door.STREAM: 1_000, Door.SINGLE: 1}

Called = tuple[float, Counter[str]]
"""Seconds that one call took, and how many usage events had which outcome."""


class Doors:
    """One connection to the ingest service; may be used by many threads at once."""

    def __init__(self, connection: Connection, retry: RetryPolicy = PATIENCE) -> None:
        self._channel = open_channel(connection.ingest, connection.tls)
        self._rows = BatchSender(self._channel, connection.metadata, retry)
        self._columns = ColumnSender(self._channel, connection.metadata, retry)
        self._stream = StreamSender(self._channel, connection.metadata, retry)
        self.stopping = threading.Event()

    def call(self, door: Door) -> Callable[[pa.RecordBatch], Called]:
        """What sends a batch in one call, or a few; raises CommandFailed when usage is not accepted."""
        return self._send_columns if door is Door.COLUMNS else self._send_rows

    def stream(self, batches: Iterator[pa.RecordBatch], window: int) -> Iterator[Called]:
        """Sends batches over one stream; the time of each is that between its sending and its answer."""
        sent_at_s: list[float] = []

        def events() -> Iterator[Sequence[UsageEvent]]:
            for batch in batches:
                rows = usage_events(batch)
                sent_at_s.append(monotonic_s())
                yield rows

        for number, results in enumerate(self._stream.send(events(), StreamWindow(window, False, ""))):
            yield monotonic_s() - sent_at_s[number], _outcomes(results)
            sent_at_s[number] = 0.0

    def close(self) -> None:
        """Let go of the connection; what waits is not sent again."""
        self.stopping.set()
        self._channel.close()

    def _send_rows(self, batch: pa.RecordBatch) -> Called:
        events = usage_events(batch)
        started_at_s = monotonic_s()
        results = self._rows.send(events, self.stopping)
        return monotonic_s() - started_at_s, _outcomes(results)

    def _send_columns(self, batch: pa.RecordBatch) -> Called:
        requests = list(encoded_requests(batch))
        started_at_s = monotonic_s()
        result = ColumnsResult()
        for arrow_ipc, rows in requests:
            answer = self._columns.send(arrow_ipc, rows, self.stopping)
            if isinstance(answer, Failure):
                raise _not_accepted(answer.message, answer.reason or answer.status)
            result = result.after(answer)
        counts = Counter(
            recorded=result.recorded, duplicate=result.duplicate, conflict=result.conflict, invalid=result.invalid
        )
        return monotonic_s() - started_at_s, counts


def usage_events(batch: pa.RecordBatch) -> list[UsageEvent]:
    """The rows of a batch of the load as messages."""
    columns = {name: batch.column(name) for name in batch.schema.names}
    keys = [name.removeprefix(_PROPERTY_PREFIX) for name in columns if name.startswith(_PROPERTY_PREFIX)]
    texts = [columns[_PROPERTY_PREFIX + key].to_pylist() for key in keys]
    times_us = columns["time"].cast(pa.int64()).to_pylist()
    rows = zip(
        *(columns[name].to_pylist() for name in ("id", "source", "type", "subject")),
        (Timestamp(seconds=each // _MICROSECONDS, nanos=each % _MICROSECONDS * 1_000) for each in times_us),
        _decimal_texts(columns["value"]).to_pylist(),
        zip(*texts, strict=True),
        strict=True,
    )
    return [
        UsageEvent(
            id=id_,
            source=source,
            type=type_,
            subject=subject,
            time=time,
            value=value,
            properties=dict(zip(keys, properties, strict=True)),
        )
        for id_, source, type_, subject, time, value, properties in rows
    ]


def _decimal_texts(values: pa.Array) -> pa.Array:
    """Plain decimal text; the load has no value below a millionth, which Arrow would write with an exponent."""
    return pc.utf8_rtrim(pc.utf8_rtrim(values.cast(pa.utf8()), "0"), ".")


def _outcomes(results: Sequence[UsageResult]) -> Counter[str]:
    counts = Counter(result.outcome.value for result in results)
    if counts["undelivered"]:
        raise _not_accepted(results[0].message, results[0].reason)
    return counts


def _not_accepted(message: str, reason: str) -> CommandFailed:
    return CommandFailed(f"the ingest service did not accept usage: {message}", reason=reason)
