"""How the rows of one file become usage events: by a mapping, or as requests of a web log."""

import hashlib
import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field
from typing import Final

from services.cli.importing.access_log import access_log_batches
from services.cli.importing.api_gateway_log import api_gateway_batches
from services.cli.importing.batch import Batch, read_batches
from services.cli.importing.cloud_event_batch import CloudEventBatch, cloud_event_batches
from services.cli.importing.column_batch import COLUMN_BYTES_MAX, COLUMN_ROWS_MAX, ColumnBatch, not_done_yet
from services.cli.importing.file_format import WEB_FORMATS, FileFormat
from services.cli.importing.mapping_file import MappingFile
from services.cli.importing.parquet_batches import parquet_batches
from services.cli.importing.refusal import FileRefused, MappingRefused
from services.cli.importing.usage_file import UsageFile
from services.cli.importing.web_request import PREFIX_SEGMENTS_MAX, WebLogOptions


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an import was told: a mapping, or options of a web log; a format; and the backfill that it loads, if any."""

    mapping: MappingFile | None = None
    format: FileFormat | None = None
    web: WebLogOptions = field(default_factory=WebLogOptions)
    backfill: str = ""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides what is sent, in hexadecimal."""
        parts = {
            "mapping": self.mapping.fingerprint if self.mapping else "",
            "format": self.format,
            "web": asdict(self.web),
            "backfill": self.backfill,
            "rows": [COLUMN_ROWS_MAX, COLUMN_BYTES_MAX],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


AnyBatch = Batch | ColumnBatch | CloudEventBatch
"""Consecutive rows of a file, as they are sent."""


def planned_batches(file: UsageFile, plan: ImportPlan, rows_done: int) -> Generator[AnyBatch, None, None]:
    """What is to be sent of a file, after the rows that are done; raises FileRefused or MappingRefused."""
    if file.format in WEB_FORMATS:
        if not 1 <= plan.web.prefix_segments <= PREFIX_SEGMENTS_MAX:
            raise FileRefused(f"--prefix-segments is 1 to {PREFIX_SEGMENTS_MAX}", reason="PREFIX_SEGMENTS")
        yield from not_done_yet(_WEB_LOGS[file.format](file, plan.web), rows_done)
        return
    if file.format is FileFormat.CLOUD_EVENTS:
        if plan.web != WebLogOptions() or plan.mapping is not None:
            raise FileRefused(
                "CloudEvents say all there is to say; leave out the other options", reason="TOO_MUCH_SAID"
            )
        yield from cloud_event_batches(file, rows_done)
        return
    if plan.mapping is None:
        raise MappingRefused(f"a {file.format.value} file needs --mapping, which says how a row becomes a usage event")
    if file.format is FileFormat.PARQUET:
        yield from not_done_yet(parquet_batches(file, plan.mapping.mapping), rows_done)
    else:
        yield from read_batches(file, plan.mapping.mapping, rows_done)


_WEB_LOGS: Final[dict[FileFormat, Callable[[UsageFile, WebLogOptions], Iterator[ColumnBatch]]]] = {
    FileFormat.ACCESS_LOG: access_log_batches,
    FileFormat.API_GATEWAY: api_gateway_batches,
}
