"""The CloudEvents of a file, each as it was written: one or several JSON objects, one a line, or in an array."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from meterlog.client.cloud_event import EventName, name_of
from services.cli.importing.json_array import array_values
from services.cli.importing.json_lines import line_values
from services.cli.importing.line import PeekableLines, beginning, read_lines
from services.cli.importing.refusal import FileRefused
from services.cli.importing.row import BrokenRow, Problem

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_HEAD_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class CloudEventRow:
    """One CloudEvent, or another JSON value in its place: the line it starts on, its number from 0, its text and name.

    Whether it is a CloudEvent the service decides.
    """

    line: int
    number: int
    text: str
    name: EventName


def cloud_event_rows(content: PeekableLines) -> Iterator[CloudEventRow | BrokenRow]:
    """Every CloudEvent, readable or not; raises FileRefused when there is none."""
    head = beginning(content, _HEAD_BYTES).removeprefix(_BYTE_ORDER_MARK).lstrip()
    values = array_values(content) if head.startswith(b"[") else line_values(read_lines(content))
    number = -1
    for number, value in enumerate(values):
        if isinstance(value, Problem):
            yield BrokenRow(number, value)
        else:
            yield CloudEventRow(value.line, number, value.text, name_of(value.document))
    if number < 0:
        raise FileRefused("there is no CloudEvent; write JSON objects, one a line or in an array", reason="FILE_EMPTY")
