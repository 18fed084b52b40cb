"""JSON objects one a line, or each over several lines; a broken one stops none of the others."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from services.cli.importing.json_value import CHARACTERS_MAX, DECODER, JsonValue
from services.cli.importing.line import Line
from services.cli.importing.row import Problem

LINES_MAX: Final = 200
"""The end of an object is looked for on so many lines."""


def line_values(lines: Iterable[Line]) -> Iterator[JsonValue | Problem]:
    """Every value, in order; what cannot be read is a problem of the line it starts on. Blank lines are nothing."""
    begun: tuple[Line, ...] = ()
    for line in lines:
        if not begun and not line.text.strip() and line.fault is None:
            continue
        if begun and not _begins_anew(line):
            read = _read((*begun, line))
            if read is None:
                begun = (*begun, line)
                continue
            if isinstance(read, JsonValue):
                yield read
                begun = ()
                continue
        yield from _unfinished(begun)
        read = _read((line,))
        begun = (line,) if read is None else ()
        if read is not None:
            yield read
    yield from _unfinished(begun)


def _read(lines: Sequence[Line]) -> JsonValue | Problem | None:
    """What stands on these lines; None when it is an object that may go on."""
    first, last = lines[0], lines[-1]
    if last.fault is not None:
        return Problem(last.number, "", last.fault.reason, last.fault.message)
    text = "".join(line.text for line in lines).strip()
    try:
        return JsonValue(first.number, text, DECODER.decode(text))
    except json.JSONDecodeError as error:
        may_go_on = text.startswith("{") and error.pos >= len(text)
        if may_go_on and len(lines) < LINES_MAX and len(text) < CHARACTERS_MAX:
            return None
        return _broken(first, str(error))
    except (ValueError, RecursionError) as error:
        return _broken(first, str(error))


def _begins_anew(line: Line) -> bool:
    """Whether an object that was begun before this line will never end: it is one by itself, and not indented."""
    read = _read((line,)) if line.text.startswith("{") else None
    return isinstance(read, JsonValue)


def _unfinished(begun: Sequence[Line]) -> Iterator[Problem]:
    if begun:
        yield _broken(begun[0], "the object does not end")


def _broken(line: Line, why: str) -> Problem:
    return Problem(line.number, "", "BAD_JSON", f"the line is not JSON: {why}")
