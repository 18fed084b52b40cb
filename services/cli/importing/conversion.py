"""A row becomes a usage event, or the reason why it cannot. What the service checks is not checked here."""

from collections.abc import Mapping
from datetime import datetime

from meterlog.client import WrongValue
from meterlog.client.event import usage_event
from meterlog.client.outbox import size_of
from meterlog.client.sending import REQUEST_BYTES_MAX
from meterlog.ingest.v1.ingest_pb2 import UsageEvent
from services.cli.importing.mapping import TimeColumn, UsageMapping
from services.cli.importing.quotation import quoted
from services.cli.importing.row import Problem, Row
from services.cli.importing.template import Template
from services.kernel.quantity import is_decimal_text


def convert(row: Row, mapping: UsageMapping, file_name: str) -> UsageEvent | Problem:
    """The usage event of a row, or why there is none."""
    try:
        event = usage_event(
            source=_text(mapping.source, row, file_name, "source"),
            id=_text(mapping.id, row, file_name, "id"),
            type=_text(mapping.type, row, file_name, "type"),
            subject=_text(mapping.subject, row, file_name, "subject"),
            time=_instant(mapping.time, row),
            value=None if mapping.value is None else _number(mapping.value, row, file_name, "value"),
            properties=_properties(mapping, row, file_name),
        )
    except _Unusable as error:
        return Problem(row.line, error.field, error.reason, error.message)
    except WrongValue as error:
        return Problem(row.line, "", "NOT_UNICODE", str(error))
    if size_of(event) > REQUEST_BYTES_MAX:
        return Problem(row.line, "", "EVENT_TOO_LARGE", f"the usage event takes more than {REQUEST_BYTES_MAX} bytes")
    return event


class _Unusable(Exception):
    def __init__(self, field: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.field, self.reason, self.message = field, reason, message


def _text(template: Template, row: Row, file_name: str, field: str) -> str:
    text = template.render(row, file_name)
    if text is None:
        missing = ", ".join(quoted(column) for column in sorted(template.columns - row.columns.keys()))
        raise _Unusable(field, "COLUMN_MISSING", f"the row has no text or number in {missing}")
    return text


def _instant(time: TimeColumn, row: Row) -> datetime:
    text = row.columns.get(time.column)
    if text is None:
        raise _Unusable("time", "COLUMN_MISSING", f"the row has no text or number in {quoted(time.column)}")
    try:
        return time.instant(text)
    except (ValueError, OverflowError) as error:
        example = f'write it as {time.format.name}, such as "{time.format.example}"'
        raise _Unusable("time", "BAD_TIME", f"{time.column} is {quoted(text)}; {example}") from error


def _number(template: Template, row: Row, file_name: str, field: str) -> str:
    text = _text(template, row, file_name, field)
    if not is_decimal_text(text):
        raise _Unusable(field, "NOT_A_DECIMAL", f'{field} is {quoted(text)}; write plain decimal text such as "12.5"')
    return text


def _properties(mapping: UsageMapping, row: Row, file_name: str) -> Mapping[str, str]:
    properties = {}
    for each in mapping.properties:
        if each.is_number:
            properties[each.key] = _number(each.template, row, file_name, f"properties.{each.key}")
        elif text := each.template.render(row, file_name):
            properties[each.key] = text
    return properties
