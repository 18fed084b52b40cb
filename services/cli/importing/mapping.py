"""How the rows of a file become usage events: the content of a mapping file, checked.

format: csv                  csv, ndjson or parquet; default: by the file's name
delimiter: ";"               CSV only; default: a comma
source: "{file}"             templates, see `template`
id: "row-{row}"
type: llm.completion
subject: "tenant-{row % 8}"
time: {column: TIMESTAMP, format: iso8601, zone: UTC}
value: "{Amount}"            left out: every usage event counts 1
properties:
  region: "{Region}"                       text; left out of the event where the row has none
  input_tokens: {number: "{Tokens}"}       decimal text; a row without one is broken
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from services.cli.importing.file_format import MAPPED_FORMATS, FileFormat
from services.cli.importing.refusal import MappingRefused
from services.cli.importing.template import Template, parse_template
from services.cli.importing.time_format import TIME_FORMATS, TimeFormat
from services.kernel.calendar import time_zone
from services.kernel.errors import InvalidInput

PROPERTIES_MAX = 64


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """Where a row holds its instant, and how it is written."""

    column: str
    format: TimeFormat
    zone: ZoneInfo

    def instant(self, text: str) -> datetime:
        """The instant in UTC; raises ValueError or OverflowError."""
        return self.format.read(text, self.zone)


@dataclass(frozen=True, slots=True)
class PropertyTemplate:
    """A property of the usage event; a number must be decimal text in every row."""

    key: str
    template: Template
    is_number: bool


@dataclass(frozen=True, slots=True)
class UsageMapping:
    """How a row becomes a usage event; `format` None means by the file's name, `value` None the default value."""

    format: FileFormat | None
    delimiter: str
    source: Template
    id: Template
    type: Template
    subject: Template
    time: TimeColumn
    value: Template | None
    properties: tuple[PropertyTemplate, ...]

    @property
    def columns(self) -> frozenset[str]:
        """Every column that it reads."""
        templates = [self.source, self.id, self.type, self.subject, *(each.template for each in self.properties)]
        if self.value is not None:
            templates.append(self.value)
        return frozenset({self.time.column}.union(*(template.columns for template in templates)))


def parse_mapping(document: object) -> UsageMapping:
    """The mapping of a parsed YAML document; raises MappingRefused that names the key at fault."""
    top = _mapping(document, "")
    _refuse_unknown(top, _KEYS, "")
    return UsageMapping(
        format=_format(top),
        delimiter=_delimiter(top),
        source=_template(top, "source"),
        id=_id(top),
        type=_template(top, "type"),
        subject=_template(top, "subject"),
        time=_time(_mapping(_required(top, "time"), "time")),
        value=_template(top, "value") if "value" in top else None,
        properties=_properties(_mapping(top.get("properties") or {}, "properties")),
    )


_KEYS = ("format", "delimiter", "source", "id", "type", "subject", "time", "value", "properties")
_TIME_KEYS = ("column", "format", "zone")


def _format(top: Mapping[str, object]) -> FileFormat | None:
    written = top.get("format")
    if written is None:
        return None
    return FileFormat(_one_of(written, [each.value for each in MAPPED_FORMATS], "format"))


def _delimiter(top: Mapping[str, object]) -> str:
    written = top.get("delimiter", ",")
    if not isinstance(written, str) or len(written) != 1 or written in '"\r\n\0':
        raise MappingRefused('delimiter is one character, such as ";" or "\\t"', field="delimiter")
    return written


def _id(top: Mapping[str, object]) -> Template:
    template = _template(top, "id")
    if template.is_same_for_every_row:
        raise MappingRefused("id is the same for every row; use {row} or a column", field="id")
    return template


def _time(written: Mapping[str, object]) -> TimeColumn:
    _refuse_unknown(written, _TIME_KEYS, "time.")
    name = _one_of(written.get("format", "iso8601"), list(TIME_FORMATS), "time.format")
    zone = _text(written.get("zone", "UTC"), "time.zone")
    try:
        return TimeColumn(
            _text(_required(written, "column", "time."), "time.column"),
            TIME_FORMATS[name],
            time_zone(zone, "time.zone"),
        )
    except InvalidInput as error:
        raise MappingRefused(error.message, field=error.field) from error


def _properties(written: Mapping[str, object]) -> tuple[PropertyTemplate, ...]:
    if len(written) > PROPERTIES_MAX:
        raise MappingRefused(f"properties are {PROPERTIES_MAX} at most", field="properties")
    return tuple(_property(key, value, f"properties.{key}") for key, value in written.items())


def _property(key: str, written: object, path: str) -> PropertyTemplate:
    if not isinstance(written, dict):
        return PropertyTemplate(key, parse_template(_text(written, path), path), is_number=False)
    number = _mapping(written, path)
    _refuse_unknown(number, ("number",), f"{path}.")
    text = _text(_required(number, "number", f"{path}."), f"{path}.number")
    return PropertyTemplate(key, parse_template(text, f"{path}.number"), is_number=True)


def _template(top: Mapping[str, object], key: str) -> Template:
    return parse_template(_text(_required(top, key), key), key)


def _required(written: Mapping[str, object], key: str, prefix: str = "") -> object:
    if written.get(key) is None:
        raise MappingRefused(f"{prefix}{key} is missing; add it to the mapping", field=prefix + key)
    return written[key]


def _mapping(written: object, path: str) -> dict[str, object]:
    if not isinstance(written, dict):
        raise MappingRefused(f'{path or "the mapping"} is not a set of "key: value" lines', field=path)
    for key in written:
        _text(key, f"{path or 'the mapping'}: a key")
    return written


def _text(written: object, path: str) -> str:
    if not isinstance(written, str):
        raise MappingRefused(f'{path} is {written!r:.60}; write text, in quotes such as "1"', field=path)
    return written


def _one_of(written: object, choices: list[str], path: str) -> str:
    if written not in choices:
        raise MappingRefused(f"{path} is {written!r:.60}; use {' or '.join(choices)}", field=path)
    return str(written)


def _refuse_unknown(written: Mapping[str, object], known: tuple[str, ...], prefix: str) -> None:
    for key in written:
        if key not in known:
            raise MappingRefused(f"{prefix}{key} is no key of a mapping; use {', '.join(known)}", field=prefix + key)
