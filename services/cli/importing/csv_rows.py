"""The rows of a CSV file with a header (RFC 4180): quoted fields may hold delimiters, quotes and line breaks.

A quote that is never closed would swallow the rows after it. So such a record is one broken row, its first line, and
reading goes on with the next physical line.
"""

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from services.cli.importing.line import Fault, Line
from services.cli.importing.quotation import quoted
from services.cli.importing.refusal import FileRefused
from services.cli.importing.row import BrokenRow, Problem, Row

COLUMNS_SHOWN_MAX = 20
RECORD_LINES_MAX = 1000
RECORD_CHARACTERS_MAX = 1024 * 1024

_QUOTE = '"'


def csv_rows(lines: Iterable[Line], delimiter: str, needed: Iterable[str]) -> Iterator[Row | BrokenRow]:
    """Every row after the header, blank lines left out; raises FileRefused when a needed column is missing."""
    records = _Records(lines, delimiter)
    header = _header(records, needed)
    for number, record in enumerate(records):
        fault = record.fault or _wrong_count(len(record.cells), len(header))
        if fault is None:
            yield Row(record.line, number, dict(zip(header, record.cells, strict=True)))
        else:
            yield BrokenRow(number, Problem(record.line, "", fault.reason, fault.message))


@dataclass(frozen=True, slots=True)
class _Record:
    line: int
    cells: list[str]
    fault: Fault | None = None


class _Records:
    """The records of the file, in order; iterating goes on where it stopped."""

    def __init__(self, lines: Iterable[Line], delimiter: str) -> None:
        self._lines = iter(lines)
        self._put_back: deque[Line] = deque()
        self._delimiter = delimiter

    def __iter__(self) -> Iterator[_Record]:
        while (line := self._next_line()) is not None:
            if line.fault is not None:
                yield _Record(line.number, [], line.fault)
            elif _QUOTE in line.text:
                yield self._quoted(line)
            elif text := line.text.rstrip("\r\n"):
                yield _Record(line.number, text.split(self._delimiter))

    def _next_line(self) -> Line | None:
        return self._put_back.popleft() if self._put_back else next(self._lines, None)

    def _quoted(self, first: Line) -> _Record:
        taken = [first]
        try:
            cells = next(csv.reader(self._texts(taken), delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            self._put_back.extendleft(reversed(taken[1:]))
            return _Record(first.number, [], Fault("BAD_QUOTES", f"the quotes of the row do not fit: {error}"))
        return _Record(first.number, cells)

    def _texts(self, taken: list[Line]) -> Iterator[str]:
        yield taken[0].text
        characters = len(taken[0].text)
        while len(taken) < RECORD_LINES_MAX and characters <= RECORD_CHARACTERS_MAX:
            line = self._next_line()
            if line is None:
                return
            taken.append(line)
            if line.fault is not None:
                return
            characters += len(line.text)
            yield line.text


def _header(records: _Records, needed: Iterable[str]) -> list[str]:
    first = next(iter(records), None)
    if first is None:
        raise FileRefused("the file is empty; its first line must name the columns", reason="FILE_EMPTY")
    if first.fault is not None:
        raise FileRefused(
            f"line {first.line}, the header, cannot be read: {first.fault.message}", reason="HEADER_BROKEN"
        )
    for column in sorted(needed):
        _require_once(column, first.cells)
    return first.cells


def _require_once(column: str, header: list[str]) -> None:
    if column not in header:
        shown = ", ".join(quoted(name) for name in header[:COLUMNS_SHOWN_MAX])
        raise FileRefused(
            f"the file has no column {quoted(column)}, which the mapping reads; it has {shown}", reason="COLUMN_MISSING"
        )
    if header.count(column) > 1:
        raise FileRefused(
            f"the file has several columns {quoted(column)}; rename all but one", reason="COLUMN_AMBIGUOUS"
        )


def _wrong_count(found: int, expected: int) -> Fault | None:
    if found == expected:
        return None
    reason = "TOO_FEW_COLUMNS" if found < expected else "TOO_MANY_COLUMNS"
    return Fault(reason, f"the row has {found} columns, the header {expected}")
