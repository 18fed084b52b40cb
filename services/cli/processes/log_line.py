"""One line of the combined log: which service said it, when, how grave it is, and its outcome in words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rich.text import Text

from services.cli.processes.members import service_of

PLATFORM: Final = "meterlog"
"""The name under which the supervisor itself speaks."""

_HIDDEN: Final = frozenset({"event", "level", "timestamp", "service", "exception"})
_SERVICE_STYLES: Final = {
    "ingest": "cyan",
    "aggregator": "green",
    "rating": "magenta",
    "notifier": "blue",
    PLATFORM: "bold",
}
_LEVEL_STYLES: Final = {"warning": "yellow", "error": "bold red", "critical": "bold red", "debug": "dim"}


@dataclass(frozen=True, slots=True)
class LogLine:
    """`time` is HH:MM:SS in UTC, or empty; `trace` holds the lines of a stack trace, or is empty."""

    service: str
    text: str
    level: str = "info"
    time: str = ""
    trace: str = ""


def parse_log_line(service: str, raw: str) -> LogLine:
    """The line that a service wrote: a JSON document of the log, or any other text as it is."""
    try:
        document = json.loads(raw)
    except ValueError:
        return LogLine(service, raw)
    if not isinstance(document, dict) or "event" not in document:
        return LogLine(service, raw)
    return LogLine(
        service,
        _call(document) if document["event"] == "call" else _outcome(document),
        str(document.get("level", "info")),
        _time_of_day(document),
        str(document.get("exception", "")),
    )


def log_line_text(line: LogLine) -> Text:
    """The line in colour."""
    text = Text.assemble(
        (f"{line.time:<8} ", "dim"),
        (f"{line.service:<10} ", _SERVICE_STYLES.get(service_of(line.service), "")),
        (line.text, _LEVEL_STYLES.get(line.level, "")),
    )
    return text.append(f"\n{line.trace}", "dim") if line.trace else text


def _outcome(document: Mapping[str, object], hidden: frozenset[str] = _HIDDEN) -> str:
    fields = [f"{name}={_shown(value)}" for name, value in document.items() if name not in hidden]
    return " ".join([str(document["event"]), *fields])


def _call(document: Mapping[str, object]) -> str:
    """A call reads as its RPC, its status and its duration."""
    rpc = str(document.get("method", "")).rpartition("/")[2]
    head = f"{rpc} {document.get('code', '')} in {document.get('duration_ms', '?')} ms"
    return _outcome({**document, "event": head}, _HIDDEN | {"method", "code", "duration_ms"})


def _time_of_day(document: Mapping[str, object]) -> str:
    return str(document.get("timestamp", ""))[11:19]


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value if value and " " not in value else json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)
