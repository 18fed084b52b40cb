"""Access logs of web servers, in the common and the combined format of Apache and nginx.

    83.149.9.216 - frank [17/May/2015:10:05:03 +0000] "GET /docs?q=1 HTTP/1.1" 200 203023 "referer" "user agent"

What follows the size is not read, so fields that a server was told to add do no harm.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from services.cli.importing.column_batch import COLUMN_BYTES_MAX, COLUMN_ROWS_MAX, ColumnBatch
from services.cli.importing.line import Line, read_lines
from services.cli.importing.occurrences import LineIds
from services.cli.importing.quotation import quoted
from services.cli.importing.row import Problem
from services.cli.importing.usage_file import UsageFile
from services.cli.importing.web_request import ABSENT, SubjectFrom, WebLogOptions, WebRequests, usage_columns

SOURCE: Final = "access-log"

_CLIENT = r"^(?P<ip>\S+) \S+ (?P<user>[^\[]*?) \["
_TIME = r"(?P<time>[^\]]*)\] "
_REQUEST = r'"(?P<request>(?:[^"\\]|\\.)*)" '
_ANSWER = r"(?P<status>[1-9][0-9]{2}) (?P<size>[0-9]{1,18}|-)(?: .*)?$"
_LINE: Final = _CLIENT + _TIME + _REQUEST + _ANSWER
_STEPS: Final = (
    (re.compile(_CLIENT), "", "NO_CLIENT", 'does not begin with a client, two fields and "["'),
    (re.compile(_CLIENT + _TIME), "time", "NO_TIME", "has no time in brackets"),
    (re.compile(_CLIENT + _TIME + _REQUEST), "properties.path", "NO_REQUEST", "has no request in quotes"),
    (re.compile(_LINE), "properties.status", "NO_STATUS", "has no status and size after the request"),
)
_SPLIT_REQUEST: Final = r"^(?P<method>[A-Za-z_-]{1,32}) (?P<target>\S.*?)(?: (?P<protocol>HTTP/[0-9.]{1,8}))?$"
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
_TIME_TEXT: Final = re.compile(
    r"([0-9]{2})/([A-Z][a-z]{2})/([0-9]{4}):([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?"
    r" ([+-])([0-9]{2})([0-9]{2})"
)
_TIMESTAMP: Final = pa.timestamp("us", tz="UTC")


def access_log_batches(file: UsageFile, options: WebLogOptions) -> Iterator[ColumnBatch]:
    """Every line of the file but blank ones, in batches, in order."""
    ids = LineIds()
    for lines in _gathered(read_lines(file.content)):
        yield _batch(lines, ids, options, file)


def _gathered(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Lines until there are enough of them, or enough text."""
    gathered: list[Line] = []
    characters = 0
    for line in lines:
        if line.fault is None and not line.text.strip():
            continue
        gathered.append(line)
        characters += len(line.text)
        if len(gathered) >= COLUMN_ROWS_MAX or characters >= COLUMN_BYTES_MAX:
            yield gathered
            gathered, characters = [], 0
    yield gathered


def _batch(lines: Sequence[Line], ids: LineIds, options: WebLogOptions, file: UsageFile) -> ColumnBatch:
    problems = [problem for line in lines if (problem := _unreadable(line, file)) is not None]
    broken = {problem.line for problem in problems}
    readable = [line for line in lines if line.number not in broken]
    texts = [line.text.rstrip("\r\n") for line in readable]
    numbers = pa.array([line.number for line in readable], pa.int64())
    found = pa.RecordBatch.from_arrays(
        [pa.array([ids.next_id(text) for text in texts], pa.utf8()), numbers, *_fields(texts)],
        ["id", "line", *_FIELDS],
    )
    problems += _refused(found, readable, options)
    found = found.filter(_is_usable(found, options))
    columns = usage_columns(_requests(found, options), options, SOURCE)
    problems.sort(key=lambda problem: problem.line)
    return ColumnBatch(columns, found.column("line").to_pylist(), tuple(problems), len(lines), file.read_bytes)


_FIELDS: Final = ("ip", "user", "time", "request", "status", "size")


def _fields(texts: Sequence[str]) -> list[pa.Array]:
    """The parts of each line, null where it does not fit; times as timestamps."""
    parts = pc.extract_regex(pa.array(texts, pa.utf8()), _LINE)
    columns = {name: pc.struct_field(parts, name) for name in _FIELDS}
    return [*(columns[name] if name != "time" else _times(columns["time"]) for name in _FIELDS)]


def _times(texts: pa.Array) -> pa.Array:
    """The instants of texts, each different one read once; null where there is none."""
    coded = texts.dictionary_encode()
    instants = pa.array([log_time(text) for text in coded.dictionary.to_pylist()], _TIMESTAMP)
    return instants.take(coded.indices)


def log_time(text: str) -> datetime | None:
    """The instant of a text such as "17/May/2015:10:05:03 +0200"; None when it is none."""
    parts = _TIME_TEXT.fullmatch(text)
    if parts is None or parts[2] not in _MONTHS:
        return None
    offset = timedelta(hours=int(parts[9]), minutes=int(parts[10]))
    try:
        return datetime(
            *(int(parts[3]), _MONTHS[parts[2]], int(parts[1]), int(parts[4]), int(parts[5]), int(parts[6])),
            int((parts[7] or "").ljust(6, "0")),
            tzinfo=timezone(-offset if parts[8] == "-" else offset),
        )
    except ValueError:
        return None


def _unreadable(line: Line, file: UsageFile) -> Problem | None:
    if line.fault is not None:
        return Problem(line.number, "", line.fault.reason, line.fault.message)
    if not line.text.endswith("\n") and not file.is_compressed:
        return Problem(line.number, "", "LINE_UNFINISHED", _UNFINISHED)
    return None


_UNFINISHED: Final = (
    "the last line does not end, so its writer may not be done; import the file again then, or end the line"
)


def _refused(found: pa.RecordBatch, lines: Sequence[Line], options: WebLogOptions) -> list[Problem]:
    """Why each line that cannot be used cannot."""
    rows = pc.indices_nonzero(pc.invert(_is_usable(found, options))).to_pylist()
    return [_reason(lines[row]) for row in rows]


def _is_usable(found: pa.RecordBatch, options: WebLogOptions) -> pa.Array:
    usable = pc.is_valid(found.column("time"))
    if options.subject or options.subject_from is SubjectFrom.IP:
        return usable
    return pc.and_(usable, pc.fill_null(pc.not_equal(found.column("user"), ABSENT), False))


def _reason(line: Line) -> Problem:
    text = line.text.rstrip("\r\n")
    for pattern, field, reason, message in _STEPS:
        if pattern.match(text) is None:
            return Problem(line.number, field, reason, f"{quoted(text)} {message}; is it an access log?")
    written = re.match(_LINE, text)
    if written is not None and log_time(written["time"]) is None:
        message = f'time is {quoted(written["time"])}; it is written as "17/May/2015:10:05:03 +0000"'
        return Problem(line.number, "time", "BAD_TIME", message)
    return Problem(line.number, "subject", "NO_USER", "nobody was logged in; count by client with --subject-from ip")


def _requests(found: pa.RecordBatch, options: WebLogOptions) -> WebRequests:
    request = pc.extract_regex(found.column("request"), _SPLIT_REQUEST)
    sizes = found.column("size")
    return WebRequests(
        ids=found.column("id"),
        times=found.column("time"),
        subjects=found.column("user" if options.subject_from is SubjectFrom.USER else "ip"),
        methods=_text(request, "method"),
        targets=_text(request, "target"),
        statuses=found.column("status"),
        sizes=pc.if_else(pc.equal(sizes, ABSENT), "0", sizes).cast(pa.int64()),
        protocols=_text(request, "protocol"),
    )


def _text(parts: pa.Array, name: str) -> pa.Array:
    """A part of the request, "-" where it has none."""
    texts = pc.fill_null(pc.struct_field(parts, name), ABSENT)
    return pc.if_else(pc.equal(texts, ""), ABSENT, texts)
