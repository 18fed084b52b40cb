"""Turns an Arrow stream of usage into valid columns in stored form, and sets the malformed rows aside."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from services.eventstore.usage_batch import (
    PROPERTY_PREFIX,
    TIME,
    property_column,
    usage_schema,
)
from services.ingest.arrow_schema import CONSTANTS, constants_of, require_usage_schema
from services.ingest.arrow_stream import read_batches, stream_schema
from services.ingest.column_rules import Mask, are_not_identifiers, are_not_property_texts, are_not_sources
from services.ingest.problem import Problem
from services.ingest.rules import (
    PROPERTIES_MAX,
    identifier_problem,
    latest_time_us,
    property_count_problem,
    property_problem,
    source_problem,
    time_problem,
    value_problem,
)
from services.ingest.sent_columns import (
    SentTexts,
    SentTimes,
    SentValues,
    constant_texts,
    ones,
    sent_ids,
    sent_texts,
    sent_times,
    sent_values,
)
from services.ingest.usage_columns import UsageColumns, compacted
from services.ingest.validate import Validated


def validate_stream(content: bytes, now_us: int, prefix: str) -> Validated:
    """Read and check every row by itself, as `validate` does; the sizes of the stream must have been checked.

    Raises InvalidInput for columns that are no usage, and for bytes that are not what they say.
    """
    schema = stream_schema(content)
    require_usage_schema(schema)
    return _Sent.of(schema, read_batches(content)).validated(now_us, prefix)


class _Sent:
    """The columns of a stream, in the types of the log."""

    def __init__(
        self,
        ids: pa.StringArray,
        texts: Mapping[str, SentTexts],
        times: SentTimes,
        values: SentValues,
        properties: Mapping[str, SentTexts],
    ) -> None:
        self._ids = ids
        self._texts = texts
        self._times = times
        self._values = values
        self._properties = properties
        self._problems: dict[int, Problem] = {}

    @staticmethod
    def of(schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> "_Sent":
        count = sum(batch.num_rows for batch in batches)
        chunks = {name: [batch.column(name) for batch in batches] for name in schema.names}
        constants = constants_of(schema)
        keys = sorted(name.removeprefix(PROPERTY_PREFIX) for name in schema.names if name.startswith(PROPERTY_PREFIX))
        return _Sent(
            sent_ids(chunks["id"]),
            {
                name: constant_texts(constants[name], count) if name in constants else sent_texts(name, chunks[name])
                for name in CONSTANTS
            },
            sent_times(chunks["time"]),
            sent_values(chunks["value"]) if "value" in chunks else ones(count),
            {key: sent_texts(property_column(key), chunks[property_column(key)]) for key in keys},
        )

    def validated(self, now_us: int, prefix: str) -> Validated:
        self._check_ids()
        self._check_texts(
            "source", lambda texts: are_not_sources(texts, prefix), lambda text: source_problem(text, prefix)
        )
        self._check_texts("type", are_not_identifiers, lambda text: identifier_problem("type", text))
        self._check_texts("subject", are_not_identifiers, lambda text: identifier_problem("subject", text))
        self._check_times(now_us)
        for row, text in self._values.wrong.items():
            self._problems.setdefault(row, value_problem(text))
        self._check_properties()
        batch = self._batch(prefix)
        rows = np.arange(batch.num_rows)
        if self._problems:
            rows = np.delete(rows, list(self._problems))
            batch = batch.take(pa.array(rows))
        return Validated(UsageColumns(compacted(batch)), rows, self._problems)

    def _batch(self, prefix: str) -> pa.RecordBatch:
        """All rows in stored form; what a malformed row holds is anything, and is left out later."""
        columns = [
            _prefixed(self._texts["source"].column, prefix),
            self._texts["type"].column,
            self._texts["subject"].column,
            self._ids,
            pa.array(self._times.times_us).cast(TIME),
            self._values.values,
            *(texts.column for texts in self._properties.values()),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=usage_schema(list(self._properties)))

    def _check_ids(self) -> None:
        for row in np.flatnonzero(are_not_identifiers(self._ids)).tolist():
            self._problems[row] = identifier_problem("id", self._ids[row].as_py())

    def _check_texts(
        self, field: str, rule: Callable[[pa.StringArray], Mask], problem: Callable[[str], Problem | None]
    ) -> None:
        texts = self._texts[field]
        self._add(texts.rows_where(rule) | texts.nulls(), lambda row: problem(texts.text(row)))

    def _check_times(self, now_us: int) -> None:
        times, latest_us = self._times, latest_time_us(now_us)
        is_wrong = ~times.is_set | ~times.is_in_range | (times.times_us > latest_us)
        self._add(
            is_wrong,
            lambda row: time_problem(*times.seconds_and_nanos(row), bool(times.is_set[row]), now_us, latest_us),
        )

    def _check_properties(self) -> None:
        if len(self._properties) > PROPERTIES_MAX:
            counts = np.sum([~texts.nulls() for texts in self._properties.values()], axis=0)
            self._add(counts > PROPERTIES_MAX, lambda row: property_count_problem(int(counts[row])))
        for key, texts in self._properties.items():
            self._add(texts.rows_where(are_not_property_texts), partial(_property_problem, key, texts))

    def _add(self, is_wrong: Mask, problem: Callable[[int], Problem | None]) -> None:
        """Of several problems of one row the first stays."""
        for row in np.flatnonzero(is_wrong).tolist():
            if row not in self._problems:
                found = problem(row)
                assert found is not None, "rules for rows and for columns agree"
                self._problems[row] = found


def _property_problem(key: str, texts: SentTexts, row: int) -> Problem | None:
    return property_problem(key, texts.text(row))


def _prefixed(column: pa.DictionaryArray, prefix: str) -> pa.DictionaryArray:
    if not prefix:
        return column
    names = pa.array([prefix + name for name in column.dictionary.to_pylist()], pa.utf8())
    return pa.DictionaryArray.from_arrays(column.indices, names)
