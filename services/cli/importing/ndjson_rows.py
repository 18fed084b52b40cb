"""The rows of a file with one JSON object a line (NDJSON). Numbers keep the text they were written with, exactly.

A member of a nested object is the column `outer.inner`; true and false are those words; a null, a list and an empty
object are no columns.
"""

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation

from services.cli.importing.line import Line
from services.cli.importing.refusal import FileRefused
from services.cli.importing.row import BrokenRow, Problem, Row

_EXPONENT_MAX = 100


def ndjson_rows(lines: Iterable[Line]) -> Iterator[Row | BrokenRow]:
    """Every row, blank lines left out; raises FileRefused when there is none."""
    number = 0
    for line in lines:
        if line.fault is not None:
            yield BrokenRow(number, Problem(line.number, "", line.fault.reason, line.fault.message))
        elif line.text.strip():
            yield _row(line, number)
        else:
            continue
        number += 1
    if number == 0:
        raise FileRefused("the file is empty; it must hold one JSON object a line", reason="FILE_EMPTY")


def _row(line: Line, number: int) -> Row | BrokenRow:
    try:
        value = json.loads(line.text, parse_int=str, parse_float=_plain, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return BrokenRow(number, Problem(line.number, "", "BAD_JSON", f"the line is not JSON: {error}"))
    if not isinstance(value, dict):
        return BrokenRow(number, Problem(line.number, "", "NOT_AN_OBJECT", "the line is JSON, but not an object"))
    return Row(line.number, number, _columns(value))


def _columns(members: dict[str, object]) -> dict[str, str]:
    columns: dict[str, str] = {}
    open_members = list(members.items())
    while open_members:
        name, value = open_members.pop()
        if isinstance(value, dict):
            open_members.extend((f"{name}.{inner}", member) for inner, member in value.items())
        elif isinstance(value, bool):
            columns[name] = "true" if value else "false"
        elif isinstance(value, str):
            columns[name] = value
    return columns


def _plain(written: str) -> str:
    """A number with an exponent as plain decimal text; one of absurd size stays as written and is refused later."""
    if "e" not in written and "E" not in written:
        return written
    try:
        number = Decimal(written)
    except InvalidOperation:
        return written
    return format(number, "f") if abs(number.adjusted()) <= _EXPONENT_MAX else written


def _refuse_constant(written: str) -> str:
    raise ValueError(f"{written} is no JSON number")
