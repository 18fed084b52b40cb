"""What the demonstration must know of a trace beforehand: when it happened, and what a plain count of it says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import takewhile
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import yaml

from meterlog.ingest.v1.ingest_pb2 import UsageEvent
from services.cli.failure import CommandFailed
from services.cli.importing.conversion import convert
from services.cli.importing.mapping import parse_mapping
from services.cli.importing.refusal import FileRefused
from services.cli.importing.row import BrokenRow
from services.cli.importing.usage_file import open_usage_file
from services.kernel.calendar import Span, months
from services.kernel.quantity import add
from services.kernel.timestamp import from_timestamp

UTC_ZONE: Final = ZoneInfo("UTC")
CUSTOMERS: Final = tuple(f"tenant-{number}" for number in range(8))
SPAN_MAX: Final = timedelta(days=300)

MAPPING_YAML: Final = """\
source: "{file}"
id: "row-{row}"
type: llm.completion
subject: "tenant-{row % 8}"
time: {column: TIMESTAMP, format: iso8601, zone: UTC}
properties:
  input_tokens: {number: "{ContextTokens}"}
  output_tokens: {number: "{GeneratedTokens}"}
"""


@dataclass(slots=True)
class PlainCount:
    """The usage of one customer, counted row by row."""

    requests: int = 0
    input_tokens: Decimal = Decimal(0)
    output_tokens: Decimal = Decimal(0)
    largest_prompt: Decimal | None = None

    def add(self, input_tokens: Decimal, output_tokens: Decimal) -> None:
        """Count one row."""
        self.requests += 1
        self.input_tokens = add(self.input_tokens, input_tokens)
        self.output_tokens = add(self.output_tokens, output_tokens)
        if self.largest_prompt is None or input_tokens > self.largest_prompt:
            self.largest_prompt = input_tokens


@dataclass(frozen=True, slots=True)
class Trace:
    """`first_at` and `last_at` are the earliest and the latest instant; broken rows count nowhere but in `rows`.

    `periods` counts the calendar months (UTC) with usage, customer by customer.
    """

    path: Path
    rows: int
    first_at: datetime
    last_at: datetime
    counts: Mapping[str, PlainCount]
    periods: int

    @property
    def billed_months(self) -> tuple[Span, ...]:
        """The calendar months (UTC) from the first event to the last."""
        return tuple(takewhile(lambda month: month.start <= self.last_at, months(self.first_at, UTC_ZONE)))

    @property
    def grace(self) -> timedelta:
        """A grace period so long that no month closes before the whole trace is imported."""
        return max(timedelta(0), self.last_at - self.billed_months[0].end) + timedelta(hours=1)


def read_trace(path: Path) -> Trace:
    """Read the file once; raises FileRefused, or CommandFailed when no row of it can be used."""
    counts = {customer: PlainCount() for customer in CUSTOMERS}
    span: Span | None = None
    rows = 0
    periods: set[tuple[str, int, int]] = set()
    for event in _events(path):
        rows += 1
        if event is None:
            continue
        at = from_timestamp(event.time)
        span = Span(min(span.start, at), max(span.end, at)) if span else Span(at, at)
        periods.add((event.subject, at.year, at.month))
        tokens = event.properties
        counts[event.subject].add(Decimal(tokens["input_tokens"]), Decimal(tokens["output_tokens"]))
    if span is None:
        raise CommandFailed(f"{path} has no row that can be used", reason="TRACE_EMPTY")
    if span.end - span.start > SPAN_MAX:
        raise CommandFailed(f"{path} spans more than {SPAN_MAX.days} days; take a part of it", reason="TRACE_TOO_LONG")
    return Trace(path, rows, span.start, span.end, counts, len(periods))


def _events(path: Path) -> Iterator[UsageEvent | None]:
    """The usage event of every row; None for a broken one."""
    mapping = parse_mapping(yaml.safe_load(MAPPING_YAML))
    with open_usage_file(path, mapping) as file:
        try:
            for row in file.rows(mapping):
                found = None if isinstance(row, BrokenRow) else convert(row, mapping, path.name)
                yield found if isinstance(found, UsageEvent) else None
        except FileRefused as error:
            raise FileRefused(f"{path}: {error.message}", reason=error.reason) from error
