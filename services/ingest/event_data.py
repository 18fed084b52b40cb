"""The data of a CloudEvent: its value and its properties. Numbers stay the text that was written, never a float."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from services.ingest.problem import Problem, shown
from services.kernel.ids import is_property_key

VALUE: Final = "value"

_EXPONENT: Final = re.compile(r"-?[0-9]{1,60}(?:\.[0-9]{1,60})?[eE][+-]?[0-9]{1,2}")


class JsonRefused(Exception):
    """The text is not JSON, or not such as is taken; the message says why."""


@dataclass(frozen=True, slots=True)
class JsonNumber:
    """A number as it was written."""

    text: str


@dataclass(frozen=True, slots=True)
class TwiceNamed:
    """An object in which a name stands twice: which of the two is meant, nobody knows."""

    name: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What the data says: decimal text, empty for none, and properties."""

    value: str
    properties: Mapping[str, str]


class DataRefused(Exception):
    """The data cannot be taken; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def parse_json(text: str | bytes) -> Any:
    """The document, with JsonNumber for numbers and TwiceNamed for ambiguous objects; raises JsonRefused.

    Nesting is bounded by Python's limit on recursion, about a thousand.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=JsonNumber,
            parse_float=JsonNumber,
            parse_constant=_refuse_constant,
        )
    except RecursionError as error:
        raise JsonRefused("it is nested too deep") from error
    except UnicodeDecodeError as error:
        raise JsonRefused("it is not UTF-8") from error
    except ValueError as error:
        raise JsonRefused(f"it is not JSON: {str(error)[:120]}") from error


def measured(data: Any) -> Measured:
    """Value and properties of the data, a document of `parse_json`; raises DataRefused."""
    if isinstance(data, TwiceNamed):
        raise _refused("DATA_NAME_TWICE", "data", f"the data names {shown(data.name)} twice; send each name once")
    if not isinstance(data, dict):
        raise _refused("DATA_NOT_OBJECT", "data", 'the data is no JSON object; send one, such as {"value": "12.5"}')
    texts = {name: _text(name, said) for name, said in data.items() if said is not None}
    return Measured(texts.pop(VALUE, ""), texts)


def _text(name: str, said: Any) -> str:
    field = VALUE if name == VALUE else f"properties.{name}" if is_property_key(name) else "properties"
    if isinstance(said, str):
        return said
    if isinstance(said, bool):
        return "true" if said else "false"
    if isinstance(said, JsonNumber):
        return _plain(said.text, field)
    what = "names a thing twice" if isinstance(said, TwiceNamed) else "is nested"
    raise _refused("DATA_NESTED", field, f"{shown(name)} in the data {what}; send text, a number, true or false")


def _plain(text: str, field: str) -> str:
    """A number as it was written; with an exponent, the same number without."""
    if "e" not in text and "E" not in text:
        return text
    if _EXPONENT.fullmatch(text) is None:
        raise _refused("NUMBER_NOT_DECIMAL", field, f"{field} is {shown(text)}; write the number without exponent")
    return format(Decimal(text), "f")


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    names = [name for name, _ in pairs]
    return TwiceNamed(next(name for name in names if names.count(name) > 1))


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _refused(reason: str, field: str, message: str) -> DataRefused:
    return DataRefused(Problem(reason, field, message))
