"""Which columns an Arrow stream of usage may have, and of which types; each column at fault is named."""

from collections import Counter
from collections.abc import Iterator
from typing import Final
from zoneinfo import ZoneInfo

import pyarrow as pa

from services.eventstore.usage_batch import PROPERTY_PREFIX
from services.ingest.arrow_stream import FIELD
from services.ingest.problem import shown
from services.ingest.rules import PROPERTY_KEYS_MAX
from services.kernel.errors import InvalidInput
from services.kernel.ids import PROPERTY_KEY_RULE, is_property_key

CONSTANTS: Final = ("source", "type", "subject")
"""Columns that may be given once instead, as the schema's metadata."""
REQUIRED: Final = ("id", *CONSTANTS, "time")

_TEXT_RULE: Final = "make it utf8, large_utf8, or a dictionary of these"
_TIME_RULE: Final = "make it a timestamp with a time zone, or int64 microseconds since 1970"
_VALUE_RULE: Final = "send decimal, integer or text"
_SHOWN_MAX: Final = 100
_SCALE_MAX: Final = 76
"""Digits that the widest decimal has; Arrow itself reads any scale."""


def require_usage_schema(schema: pa.Schema) -> None:
    """Raises InvalidInput for a schema that is not one of usage; the message names every column at fault."""
    names = Counter(schema.names)
    faults = [*_missing(schema), *(fault for name in names for fault in _faults(schema, name, names[name]))]
    properties = sum(name.startswith(PROPERTY_PREFIX) for name in names)
    if properties > PROPERTY_KEYS_MAX:
        faults = [("", f"there are {properties} property columns; send at most {PROPERTY_KEYS_MAX}")]
    if faults:
        column = faults[0][0]
        raise InvalidInput(
            "these columns are no usage: " + "; ".join(fault for _, fault in faults),
            field=f"{FIELD}.{column[:_SHOWN_MAX]}" if column else FIELD,
            reason="ARROW_SCHEMA",
        )


def constants_of(schema: pa.Schema) -> dict[str, str]:
    """The columns that are given once, with their text; raises InvalidInput for text that is not UTF-8."""
    metadata = schema.metadata or {}
    try:
        return {name: metadata[name.encode()].decode() for name in CONSTANTS if name.encode() in metadata}
    except UnicodeDecodeError as error:
        raise InvalidInput(
            "the schema's metadata holds text that is not UTF-8", field=FIELD, reason="ARROW_SCHEMA"
        ) from error


def _missing(schema: pa.Schema) -> Iterator[tuple[str, str]]:
    constants = constants_of(schema)
    for name in REQUIRED:
        if name not in schema.names and name not in constants:
            yield name, f'"{name}" is missing'
        if name in schema.names and name in constants:
            yield name, f'"{name}" is a column and stands in the metadata, too; send one of them'


def _faults(schema: pa.Schema, name: str, count: int) -> Iterator[tuple[str, str]]:
    if count > 1:
        yield name, f"{shown(name)} is there {count} times"
        return
    kind = schema.field(name).type
    if name == "time":
        fault = "" if _is_time(kind) else f"is {_name(kind)}; {_TIME_RULE}"
    elif name == "value":
        fault = "" if _is_value(kind) else f"is {_name(kind)}; {_VALUE_RULE}"
    elif name in REQUIRED:
        fault = "" if is_text(kind) else f"is {_name(kind)}; {_TEXT_RULE}"
    else:
        fault = _property_fault(name, kind)
    if fault:
        yield name, f"{shown(name)} {fault}"


def _property_fault(name: str, kind: pa.DataType) -> str:
    if not name.startswith(PROPERTY_PREFIX):
        return f'is no column of usage; name a property "{PROPERTY_PREFIX}<key>"'
    if not is_property_key(name.removeprefix(PROPERTY_PREFIX)):
        return f"is no property; behind {PROPERTY_PREFIX!r} use {PROPERTY_KEY_RULE}"
    if pa.types.is_floating(kind):
        return f"is {kind}; send decimal text"
    return "" if is_text(kind) else f"is {_name(kind)}; {_TEXT_RULE}"


def _name(kind: pa.DataType) -> str:
    return str(kind)[:_SHOWN_MAX]


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type) and not pa.types.is_dictionary(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_time(kind: pa.DataType) -> bool:
    if pa.types.is_timestamp(kind):
        return kind.tz is not None and _is_zone(kind.tz)
    return bool(pa.types.is_int64(kind))


def _is_zone(name: str) -> bool:
    """An offset such as +05:45, or a zone of the IANA's database. Arrow itself believes any text."""
    if name[:1] in ("+", "-"):
        hours, _, minutes = name[1:].partition(":")
        return len(name) == len("+00:00") and (hours + minutes).isdigit() and int(hours) < 24 and int(minutes) < 60
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return False
    return True


def _is_value(kind: pa.DataType) -> bool:
    if pa.types.is_decimal(kind):
        return bool(abs(kind.scale) <= _SCALE_MAX)
    return bool(pa.types.is_integer(kind)) or is_text(kind)
