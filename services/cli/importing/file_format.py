"""How a file holds its rows, told by its name, its first bytes, or its first line."""

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Final

from services.cli.importing.refusal import FileRefused

PARQUET_MAGIC: Final = b"PAR1"
HEAD_BYTES: Final = 64 * 1024


class FileFormat(StrEnum):
    """How a file holds its rows. The first three need a mapping, the others say all there is to say."""

    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"
    ACCESS_LOG = "access-log"
    API_GATEWAY = "api-gateway"
    CLOUD_EVENTS = "cloudevents"


WEB_FORMATS: Final = (FileFormat.ACCESS_LOG, FileFormat.API_GATEWAY)
MAPPED_FORMATS: Final = (FileFormat.CSV, FileFormat.NDJSON, FileFormat.PARQUET)

_SUFFIXES: Final = {
    ".csv": FileFormat.CSV,
    ".ndjson": FileFormat.NDJSON,
    ".jsonl": FileFormat.NDJSON,
    ".parquet": FileFormat.PARQUET,
}
_GATEWAY_MEMBERS: Final = {"request_id", "request_time", "resource_path"}
_CLOUD_EVENTS: Final = re.compile(rb'(?:\xef\xbb\xbf)?\s*[\[{].*?"specversion"\s*:', re.DOTALL)
_ACCESS_LINE: Final = re.compile(r'\S+ \S+ .*?\[[^\]]+\] "')


def format_of(path: Path, head: bytes, *, is_mapped: bool) -> FileFormat:
    """The format of a file whose content, decompressed, begins with `head`; raises FileRefused.

    With a mapping the name decides, without one the content.
    """
    named = _SUFFIXES.get(Path(path.name.removesuffix(".gz")).suffix.lower())
    if head.startswith(PARQUET_MAGIC):
        return FileFormat.PARQUET
    found = named if is_mapped else _unmapped_format(head)
    if found is not None:
        return found
    if is_mapped:
        raise FileRefused(
            f"{path} does not end in {', '.join(_SUFFIXES)} or one of them with .gz; set `format` in the mapping",
            reason="FORMAT_UNKNOWN",
        )
    raise FileRefused(
        f"{path} is no access log, no API gateway's log and no CloudEvents; name its --mapping, or its --format",
        reason="FORMAT_UNKNOWN",
    )


def _unmapped_format(head: bytes) -> FileFormat | None:
    lines = [line.strip() for line in head.decode("utf-8", "replace").splitlines() if line.strip()]
    if any(_ACCESS_LINE.match(line) for line in lines[:-1] or lines):
        return FileFormat.ACCESS_LOG
    if any(_is_gateway(line) for line in lines):
        return FileFormat.API_GATEWAY
    return FileFormat.CLOUD_EVENTS if _CLOUD_EVENTS.match(head) else None


def _is_gateway(line: str) -> bool:
    try:
        members = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(members, dict) and members.keys() >= _GATEWAY_MEMBERS
