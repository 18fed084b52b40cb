"""Usage events as plain Python values, read from stored batches and nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal

import pyarrow as pa

from meterlog.events.v1.usage_pb2 import UsageRecorded
from services.eventstore.catalogue import decode
from services.eventstore.event import RecordedEvent
from services.eventstore.usage_batch import decode_usage, property_column, property_keys
from services.kernel.clock import epoch_us

HOUR_US = 3_600_000_000
UNIT = 10**12
"""Numbers are counted in integers of a millionth of a millionth."""

_WIDE = Context(prec=120)


@dataclass(frozen=True, slots=True)
class PlainUsage:
    """A usage event: where it lies, when it was recorded, and what it says. Times in microseconds since 1970."""

    position: int
    row: int
    recorded_us: int
    source: str
    type: str
    subject: str
    at_us: int
    value: int
    properties: dict[str, str]

    @property
    def hour_us(self) -> int:
        """The first microsecond of its UTC hour; Python's remainder is never negative, so before 1970, too."""
        return self.at_us - self.at_us % HOUR_US


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which usage events are looked at: of these types and subjects (None: all), and of these event times."""

    types: frozenset[str] | None = None
    subjects: frozenset[str] | None = None
    start_us: int = -(2**62)
    end_us: int = 2**62


def plain_usage(event: RecordedEvent, wanted: Wanted) -> Iterator[PlainUsage]:
    """The usage events of one stored batch that are wanted, in their order."""
    message = decode(event)
    assert isinstance(message, UsageRecorded)
    batch = decode_usage(message)
    times = batch.column("time").cast("int64").to_pylist()
    rows = [row for row in _rows(batch, wanted) if wanted.start_us <= times[row] < wanted.end_us]
    if not rows:
        return
    columns = {name: batch.column(name).take(rows).to_pylist() for name in batch.schema.names if name != "id"}
    keys = [(key, columns[property_column(key)]) for key in property_keys(batch)]
    recorded_us = epoch_us(event.recorded_at)
    for number, row in enumerate(rows):
        yield PlainUsage(
            position=event.position,
            row=row,
            recorded_us=recorded_us,
            source=columns["source"][number],
            type=columns["type"][number],
            subject=columns["subject"][number],
            at_us=times[row],
            value=units(columns["value"][number]),
            properties={key: texts[number] for key, texts in keys if texts[number] is not None},
        )


def _rows(batch: pa.RecordBatch, wanted: Wanted) -> Sequence[int]:
    """The rows of these types and subjects. Texts are compared once for each different one, so that this is quick."""
    rows: Sequence[int] = range(batch.num_rows)
    for name, texts in (("subject", wanted.subjects), ("type", wanted.types)):
        if texts is not None:
            column = batch.column(name)
            chosen = {code for code, text in enumerate(column.dictionary.to_pylist()) if text in texts}
            codes = column.indices.to_pylist()
            rows = [row for row in rows if codes[row] in chosen]
    return rows


def units(number: Decimal) -> int:
    """A decimal of at most 12 fractional digits in units."""
    return int(_WIDE.multiply(number, Decimal(UNIT)))


def units_text(number: int) -> str:
    """The decimal text of a number in units."""
    whole, fraction = divmod(abs(number), UNIT)
    text = f"{whole}.{fraction:012d}".rstrip("0").rstrip(".")
    return f"-{text}" if number < 0 else text
