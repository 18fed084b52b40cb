"""Turns the usage events of a request into columns, and sets the malformed ones aside."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from meterlog.ingest.v1.ingest_pb2 import UsageEvent
from services.ingest.problem import Problem
from services.ingest.rules import identifier_problems, property_problems, time_problems, value_problems
from services.ingest.usage_columns import UsageColumns

DEFAULT_VALUE = "1"


@dataclass(frozen=True, slots=True)
class Validated:
    """The well-formed usage events with their rows in the request, in order; the others' problems by row."""

    columns: UsageColumns
    rows: Sequence[int]
    problems: Mapping[int, Problem]


def validate(events: Iterable[UsageEvent], now_us: int) -> Validated:
    """Check every usage event by itself; a malformed one never touches its neighbours.

    Of several problems of one usage event the first is told, in the order id, source, type, subject, time, value,
    properties. `now_us` is the clock in microseconds since 1970-01-01 UTC.
    """
    fields = _Fields.of(list(events))
    rows: Sequence[int] = range(len(fields.ids))
    problems = fields.problems(now_us) if rows else {}
    if problems:
        rows = [row for row in rows if row not in problems]
        fields = fields.take(rows)
    return Validated(fields.columns(), rows, problems)


@dataclass(frozen=True, slots=True)
class _Fields:
    """The fields of a request as they came, column by column."""

    ids: list[str]
    sources: list[str]
    types: list[str]
    subjects: list[str]
    seconds: list[int]
    nanos: list[int]
    is_time_set: list[bool]
    values: list[str]
    properties: list[dict[str, str]]

    @staticmethod
    def of(events: list[UsageEvent]) -> "_Fields":
        times = [event.time for event in events]
        seconds = [time.seconds for time in times]
        return _Fields(
            [event.id for event in events],
            [event.source for event in events],
            [event.type for event in events],
            [event.subject for event in events],
            seconds,
            [time.nanos for time in times],
            [event.HasField("time") for event in events] if 0 in seconds else [True] * len(events),
            [event.value or DEFAULT_VALUE for event in events],
            [{key: properties[key] for key in properties} for properties in [event.properties for event in events]],
        )

    def problems(self, now_us: int) -> dict[int, Problem]:
        problems = {
            **value_problems(self.values),
            **time_problems(self.seconds, self.nanos, self.is_time_set, now_us),
            **identifier_problems("subject", self.subjects),
            **identifier_problems("type", self.types),
            **identifier_problems("source", self.sources),
            **identifier_problems("id", self.ids),
        }
        return {**property_problems(self.properties, problems.keys()), **problems}

    def take(self, rows: Sequence[int]) -> "_Fields":
        return _Fields(
            [self.ids[row] for row in rows],
            [self.sources[row] for row in rows],
            [self.types[row] for row in rows],
            [self.subjects[row] for row in rows],
            [self.seconds[row] for row in rows],
            [self.nanos[row] for row in rows],
            [self.is_time_set[row] for row in rows],
            [self.values[row] for row in rows],
            [self.properties[row] for row in rows],
        )

    def columns(self) -> UsageColumns:
        return UsageColumns(
            self.sources,
            self.types,
            self.subjects,
            self.ids,
            [second * 1_000_000 + nano // 1_000 for second, nano in zip(self.seconds, self.nanos, strict=True)],
            [Decimal(value) for value in self.values],
            self.properties,
        )
