"""Parquet files: rows become usage events as the mapping says, a batch of columns at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from services.cli.importing.column_batch import COLUMN_ROWS_MAX, ColumnBatch
from services.cli.importing.mapping import TimeColumn, UsageMapping
from services.cli.importing.parquet_columns import flat, open_parquet, require_columns, text_of
from services.cli.importing.quotation import quoted
from services.cli.importing.refusal import FileRefused
from services.cli.importing.row import Problem
from services.cli.importing.template import Column, FileName, Literal, RowNumber, RowNumberModulo, Template
from services.cli.importing.usage_file import UsageFile
from services.kernel.quantity import DECIMAL_PATTERN

FIRST_LINE: Final = 1
"""Rows of a Parquet file have no line; their number, from 1, stands for it."""

_TIMESTAMP: Final = pa.timestamp("us", tz="UTC")


def parquet_batches(file: UsageFile, mapping: UsageMapping) -> Iterator[ColumnBatch]:
    """Every row of the file, in batches, in order; raises FileRefused when a column cannot be used."""
    parquet = open_parquet(file.path)
    names = require_columns(parquet, mapping.columns)
    rows_in_all = parquet.metadata.num_rows
    if rows_in_all == 0:
        raise FileRefused("the file is empty; it has no rows", reason="FILE_EMPTY")
    first_row = 0
    try:
        for batch in parquet.iter_batches(COLUMN_ROWS_MAX, columns=list(names) or None):
            rows = _Rows(flat(batch), first_row, batch.num_rows, file.path.name)
            first_row += batch.num_rows
            yield _converted(rows, mapping, file.size_bytes * first_row // rows_in_all)
    except (pa.ArrowException, OSError) as error:
        raise FileRefused(
            f"{file.path} breaks off in row {first_row + FIRST_LINE}: {error}", reason="PARQUET_BROKEN"
        ) from error


@dataclass(slots=True)
class _Rows:
    """Rows of a batch: their columns, and the first problem of each row that has one."""

    columns: Mapping[str, pa.Array]
    first_row: int
    count: int
    file_name: str
    problems: dict[int, Problem] = field(default_factory=dict)

    def text(self, template: Template) -> pa.Array:
        """A template's text of each row, null where a column is."""
        parts = [self._part(part) for part in template.parts]
        return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "")

    def column(self, name: str) -> pa.Array:
        return text_of(self.columns[name])

    def refuse(self, where: pa.Array, name: str, reason: str, message: str, texts: pa.Array | None = None) -> None:
        """Note a problem for each row where there is none yet; `texts` are shown before the message."""
        for row in pc.indices_nonzero(where).to_pylist():
            shown = "" if texts is None else f"{name} is {quoted(texts[row].as_py())}; "
            self.problems.setdefault(row, Problem(self.line(row), name, reason, shown + message))

    def line(self, row: int) -> int:
        return self.first_row + row + FIRST_LINE

    def _part(self, part: object) -> pa.Array:
        match part:
            case Column(name):
                return self.column(name)
            case RowNumber():
                return pa.array(self._numbers()).cast(pa.utf8())
            case RowNumberModulo(modulus):
                return pa.array(self._numbers() % modulus).cast(pa.utf8())
            case FileName():
                return pa.array([self.file_name], pa.utf8()).take(pa.array(np.zeros(self.count, np.int64)))
            case Literal(text):
                return pa.array([text], pa.utf8()).take(pa.array(np.zeros(self.count, np.int64)))
            case _:
                raise AssertionError(f"{part!r} is no part of a template")

    def _numbers(self) -> "np.ndarray":
        return np.arange(self.first_row, self.first_row + self.count)


def _converted(rows: _Rows, mapping: UsageMapping, read_bytes: int) -> ColumnBatch:
    columns = {
        name: _required(rows, template, name)
        for name, template in (
            ("id", mapping.id),
            ("source", mapping.source),
            ("type", mapping.type),
            ("subject", mapping.subject),
        )
    }
    columns["time"] = _instants(rows, mapping.time)
    if mapping.value is not None:
        columns["value"] = _numbers(rows, mapping.value, "value")
    for each in mapping.properties:
        name = f"properties.{each.key}"
        if each.is_number:
            columns[f"p.{each.key}"] = _numbers(rows, each.template, name)
        else:
            text = rows.text(each.template)
            columns[f"p.{each.key}"] = pc.if_else(pc.equal(text, ""), None, text)
    return _without_problems(rows, columns, read_bytes)


def _without_problems(rows: _Rows, columns: Mapping[str, pa.Array], read_bytes: int) -> ColumnBatch:
    usable = np.ones(rows.count, bool)
    usable[list(rows.problems)] = False
    coded = {
        name: column if name in ("id", "time", "value") else column.dictionary_encode()
        for name, column in columns.items()
    }
    batch = pa.RecordBatch.from_pydict(coded).filter(pa.array(usable))
    lines = (np.flatnonzero(usable) + rows.first_row + FIRST_LINE).tolist()
    problems = tuple(rows.problems[row] for row in sorted(rows.problems))
    return ColumnBatch(batch, lines, problems, rows.count, read_bytes)


def _required(rows: _Rows, template: Template, name: str) -> pa.Array:
    texts = rows.text(template)
    rows.refuse(pc.is_null(texts), name, "COLUMN_MISSING", "the row has nothing in a column that it is made of")
    return texts


def _numbers(rows: _Rows, template: Template, name: str) -> pa.Array:
    texts = _required(rows, template, name)
    is_number = pc.match_substring_regex(texts, f"^(?:{DECIMAL_PATTERN})$")
    rule = 'write plain decimal text such as "12.5"'
    rows.refuse(pc.fill_null(pc.invert(is_number), False), name, "NOT_A_DECIMAL", rule, texts)
    return texts


def _instants(rows: _Rows, time: TimeColumn) -> pa.Array:
    column = rows.columns[time.column]
    rows.refuse(pc.is_null(column), "time", "COLUMN_MISSING", f"the row has nothing in {quoted(time.column)}")
    if pa.types.is_timestamp(column.type):
        exact = pc.floor_temporal(column, unit="microsecond").cast(pa.timestamp("us", column.type.tz))
        if column.type.tz is not None:
            return exact.cast(_TIMESTAMP)
        return _read_once_each(rows, time, text_of(exact))
    return _read_once_each(rows, time, rows.column(time.column))


def _read_once_each(rows: _Rows, time: TimeColumn, texts: pa.Array) -> pa.Array:
    """The instants of texts; each different text is read once, as in any other file."""
    coded = texts.dictionary_encode()
    instants = pa.array([_instant(time, text) for text in coded.dictionary.to_pylist()], _TIMESTAMP)
    found = instants.take(coded.indices)
    rule = f'write it as {time.format.name}, such as "{time.format.example}"'
    rows.refuse(pc.and_(pc.is_valid(texts), pc.is_null(found)), "time", "BAD_TIME", rule, texts)
    return found


def _instant(time: TimeColumn, text: str) -> datetime | None:
    try:
        return time.instant(text)
    except (ValueError, OverflowError):
        return None
