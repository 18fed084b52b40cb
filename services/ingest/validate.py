"""Turns the usage events of a request for rows into valid rows, and sets the malformed ones aside."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from meterlog.ingest.v1.ingest_pb2 import UsageEvent
from services.ingest.joined_usage import Usage
from services.ingest.problem import Problem
from services.ingest.rules import (
    PROPERTIES_MAX,
    identifier_problems,
    property_problems,
    source_problems,
    time_problems,
    value_problems,
)
from services.ingest.same_keys import Rows
from services.ingest.usage_rows import UsageRows

DEFAULT_VALUE = "1"


@dataclass(frozen=True, slots=True)
class Validated:
    """The well-formed usage events with their rows in the request, in order; the others' problems by row."""

    usage: Usage
    rows: Rows
    problems: Mapping[int, Problem]

    def count(self) -> int:
        """How many usage events the request has, well-formed or not."""
        return len(self.rows) + len(self.problems)


def validate(events: Iterable[UsageEvent], now_us: int, prefix: str = "") -> Validated:
    """Check every usage event by itself; a malformed one never touches its neighbours. See `validate_fields`."""
    return validate_fields(UsageFields.of(list(events)), now_us, prefix)


def validate_fields(
    fields: "UsageFields", now_us: int, prefix: str = "", refused: Mapping[int, Problem] | None = None
) -> Validated:
    """Of several problems of one usage event the first is told, in the order id, source, type, subject, time, value,
    properties; before all of them those of `refused`.

    `now_us` is the clock in microseconds since 1970-01-01 UTC. `prefix` goes before every source.
    """
    count = len(fields.ids)
    problems = {**fields.problems(now_us, prefix, refused or {}), **(refused or {})} if count else {}
    rows: Sequence[int] = range(count)
    if problems:
        rows = [row for row in rows if row not in problems]
        fields = fields.take(rows)
    return Validated(fields.rows(prefix), np.array(rows, np.int64), problems)


@dataclass(frozen=True, slots=True)
class UsageFields:
    """The fields of a request as they came, column by column."""

    ids: list[str]
    sources: list[str]
    types: list[str]
    subjects: list[str]
    seconds: list[int]
    nanos: list[int]
    is_time_set: list[bool]
    values: list[str]
    properties: list[Mapping[str, str]]

    @staticmethod
    def of(events: Sequence[UsageEvent]) -> "UsageFields":
        """The fields of usage events."""
        times = [event.time for event in events]
        seconds = [time.seconds for time in times]
        return UsageFields(
            [event.id for event in events],
            [event.source for event in events],
            [event.type for event in events],
            [event.subject for event in events],
            seconds,
            [time.nanos for time in times],
            [event.HasField("time") for event in events] if 0 in seconds else [True] * len(events),
            [event.value or DEFAULT_VALUE for event in events],
            [_copied(event.properties) for event in events],
        )

    def problems(self, now_us: int, prefix: str, refused: Mapping[int, Problem]) -> dict[int, Problem]:
        """What is wrong, by row; the properties of `refused` rows do not count."""
        problems = {
            **value_problems(self.values),
            **time_problems(self.seconds, self.nanos, self.is_time_set, now_us),
            **identifier_problems("subject", self.subjects),
            **identifier_problems("type", self.types),
            **source_problems(self.sources, prefix),
            **identifier_problems("id", self.ids),
        }
        return {**property_problems(self.properties, {**problems, **refused}.keys()), **problems}

    def take(self, rows: Sequence[int]) -> "UsageFields":
        """The usage events of these rows, in this order."""
        return UsageFields(
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

    def rows(self, prefix: str = "") -> UsageRows:
        """What they say, in the types of the log; they must be well formed."""
        return UsageRows(
            [prefix + source for source in self.sources] if prefix else self.sources,
            self.types,
            self.subjects,
            self.ids,
            [second * 1_000_000 + nano // 1_000 for second, nano in zip(self.seconds, self.nanos, strict=True)],
            [Decimal(value) for value in self.values],
            self.properties,
        )


def _copied(properties: Mapping[str, str]) -> Mapping[str, str]:
    """A dict, which is read faster; too many are left as they are, for they are only counted."""
    return properties if len(properties) > PROPERTIES_MAX else {key: properties[key] for key in properties}
