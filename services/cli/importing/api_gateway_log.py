"""Access logs of AWS API Gateway, one JSON object a line. The gateway names each request, so that name is the id.

{"request_id": "…", "ip": "…", "user": "…", "request_time": 1767258000123, "http_method": "GET", "resource_path":
"/v1/pets", "status": "200", "protocol": "HTTP/1.1", "response_length": "42"}; the time is in milliseconds since 1970,
and "-" stands for what there is not.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from services.cli.importing.column_batch import COLUMN_BYTES_MAX, COLUMN_ROWS_MAX, ColumnBatch
from services.cli.importing.line import Line, read_lines
from services.cli.importing.quotation import quoted
from services.cli.importing.row import Problem
from services.cli.importing.usage_file import UsageFile
from services.cli.importing.web_request import ABSENT, WebLogOptions, WebRequests, usage_columns

SOURCE: Final = "api-gateway"

_MICROSECONDS_PER_MILLISECOND: Final = 1_000
_TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
_WHOLE: Final = re.compile(r"[0-9]{1,15}")
_STATUS: Final = re.compile(r"[1-9][0-9]{2}")


def api_gateway_batches(file: UsageFile, options: WebLogOptions) -> Iterator[ColumnBatch]:
    """Every line of the file but blank ones, in batches, in order."""
    gathered = _Gathered(options)
    for line in read_lines(file.content):
        if line.fault is None and not line.text.strip():
            continue
        gathered.add(line)
        if gathered.is_full:
            yield gathered.batch(file.read_bytes)
            gathered = _Gathered(options)
    yield gathered.batch(file.read_bytes)


@dataclass(frozen=True, slots=True)
class _Request:
    id: str
    time_us: int
    subject: str
    method: str
    target: str
    status: str
    size: int
    protocol: str


class _Unusable(Exception):
    def __init__(self, field: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.field, self.reason, self.message = field, reason, message


class _Gathered:
    def __init__(self, options: WebLogOptions) -> None:
        self._options = options
        self._requests: list[_Request] = []
        self._lines: list[int] = []
        self._problems: list[Problem] = []
        self._characters = 0

    def add(self, line: Line) -> None:
        self._characters += len(line.text)
        try:
            request = _request(_members(line), self._options)
        except _Unusable as error:
            self._problems.append(Problem(line.number, error.field, error.reason, error.message))
            return
        self._requests.append(request)
        self._lines.append(line.number)

    @property
    def is_full(self) -> bool:
        return self._rows >= COLUMN_ROWS_MAX or self._characters >= COLUMN_BYTES_MAX

    def batch(self, read_bytes: int) -> ColumnBatch:
        columns = usage_columns(_columns(self._requests), self._options, SOURCE)
        return ColumnBatch(columns, self._lines, tuple(self._problems), self._rows, read_bytes)

    @property
    def _rows(self) -> int:
        return len(self._requests) + len(self._problems)


def _columns(requests: Sequence[_Request]) -> WebRequests:
    def texts(name: str) -> pa.Array:
        return pa.array([getattr(request, name) for request in requests], pa.utf8())

    return WebRequests(
        ids=texts("id"),
        times=pa.array([request.time_us for request in requests], pa.int64()).cast(_TIMESTAMP),
        subjects=texts("subject"),
        methods=texts("method"),
        targets=texts("target"),
        statuses=texts("status"),
        sizes=pa.array([request.size for request in requests], pa.int64()),
        protocols=texts("protocol"),
    )


def _members(line: Line) -> Mapping[str, object]:
    if line.fault is not None:
        raise _Unusable("", line.fault.reason, line.fault.message)
    try:
        members = json.loads(line.text, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _Unusable("", "BAD_JSON", f"the line is not JSON: {error}") from error
    if not isinstance(members, dict):
        raise _Unusable("", "NOT_AN_OBJECT", "the line is JSON, but not an object")
    return members


def _refuse_constant(written: str) -> str:
    raise ValueError(f"{written} is no JSON number")


def _request(members: Mapping[str, object], options: WebLogOptions) -> _Request:
    status = _text(members, "status", "properties.status")
    if _STATUS.fullmatch(status) is None:
        raise _Unusable("properties.status", "BAD_STATUS", f"status is {quoted(status)}; it is three digits")
    name = options.subject_from.value
    return _Request(
        id=_required(members, "request_id", "id"),
        time_us=_whole(_required(members, "request_time", "time"), "request_time", "time")
        * _MICROSECONDS_PER_MILLISECOND,
        subject=options.subject or _required(members, name, "subject"),
        method=_text(members, "http_method", "properties.method"),
        target=_text(members, "resource_path", "properties.path"),
        status=status,
        size=_size(_text(members, "response_length", "properties.bytes")),
        protocol=_text(members, "protocol", "properties.protocol"),
    )


def _required(members: Mapping[str, object], name: str, field: str) -> str:
    text = _text(members, name, field)
    if text == ABSENT:
        raise _Unusable(field, "MEMBER_MISSING", f"the line has no {name}")
    return text


def _text(members: Mapping[str, object], name: str, field: str) -> str:
    """The member's text, "-" when it has none."""
    value = members.get(name)
    if value is None or value == "":
        return ABSENT
    if not isinstance(value, str):
        raise _Unusable(field, "NOT_A_TEXT", f"{name} is neither text nor number")
    return value


def _whole(text: str, name: str, field: str) -> int:
    if _WHOLE.fullmatch(text) is None:
        raise _Unusable(field, "NOT_A_WHOLE_NUMBER", f"{name} is {quoted(text)}; it is a whole number")
    return int(text)


def _size(text: str) -> int:
    return 0 if text == ABSENT else _whole(text, "response_length", "properties.bytes")
