"""A JSON value of a file, as it was written: numbers stay the text that they are."""

import json
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from services.cli.importing.line import LINE_BYTES_MAX

CHARACTERS_MAX: Final = LINE_BYTES_MAX
"""A value that is longer is not waited for."""


@dataclass(frozen=True, slots=True)
class JsonValue:
    """A value: the line it starts on, from 1, its text, and the document in which each number is its text."""

    line: int
    text: str
    document: Any


def _refuse_constant(written: str) -> NoReturn:
    raise ValueError(f"{written} is no JSON number")


DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)
"""Raises ValueError, or RecursionError for what is nested too deep."""
