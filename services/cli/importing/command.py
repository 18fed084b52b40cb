"""`meterlog import`: a file of usage, row by row into the log, once."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from meterlog.client import ColumnsResult, Failure, RetryPolicy, Tls, UsageOutcome
from meterlog.client.channel import Connection, connection
from services.cli.importing.column_batch import ColumnBatch
from services.cli.importing.file_format import FileFormat
from services.cli.importing.mapping_file import read_mapping
from services.cli.importing.plan import ImportPlan, planned_batches
from services.cli.importing.progress import ImportIdentity, ProgressFile
from services.cli.importing.refusal import ImportInterrupted
from services.cli.importing.sending import IN_FLIGHT_MAX, PATIENCE, Acknowledged, BatchesInOrder
from services.cli.importing.summary import ImportSummary
from services.cli.importing.usage_file import UsageFile, open_usage_file
from services.cli.importing.web_request import WebLogOptions
from services.kernel.clock import monotonic_s

FOLDER = "imports"


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far a running import is: rows acknowledged, and bytes of the file behind them."""

    rows: int
    bytes_done: int
    bytes_total: int


def import_usage(
    file: Path,
    mapping: Path | None = None,
    *,
    address: str,
    var: Path,
    api_key: str | None = None,
    tls: Tls | None = None,
    restart: bool = False,
    on_progress: Callable[[ImportProgress], None] | None = None,
    retry: RetryPolicy = PATIENCE,
    in_flight: int = IN_FLIGHT_MAX,
    format: FileFormat | None = None,  # noqa: A002 (what the option is called)
    web: WebLogOptions | None = None,
    backfill: str = "",
) -> ImportSummary:
    """Record every row of `file` by the ingest service at `address`; what became of them.

    A row becomes a usage event as `mapping` says, or a line of a web log as `web` says; `backfill` is the key of an
    open one.

    A run that was interrupted is continued by the next one, unless `restart`; a finished one starts again, and all its
    rows are duplicates. `api_key` None means METERLOG_API_KEY. `on_progress` is called after every batch. Of the
    `in_flight` batches that are sent at a time, the service may record several as one event; with 1 it never does.
    Raises MappingRefused, FileRefused, and ImportInterrupted when the service accepts nothing for `retry`'s total time.
    """
    started_at_s = monotonic_s()
    mapping_file = None if mapping is None else read_mapping(mapping)
    plan = ImportPlan(mapping_file, format, web or WebLogOptions(), backfill)
    with open_usage_file(file, mapping_file.mapping if mapping_file else None, format) as usage_file:
        progress = ProgressFile(var / FOLDER, _identity(usage_file, plan, address))
        if restart:
            progress.remove()
        run = _Run(usage_file, plan, progress, on_progress, in_flight)
        summary = run.to_the_end(connection(address, "", "", api_key, tls), retry)
    progress.remove()
    return replace(summary, seconds=monotonic_s() - started_at_s)


@dataclass(frozen=True, slots=True)
class _Run:
    file: UsageFile
    plan: ImportPlan
    progress: ProgressFile
    on_progress: Callable[[ImportProgress], None] | None
    in_flight: int

    def to_the_end(self, target: Connection, retry: RetryPolicy) -> ImportSummary:
        summary = self.progress.load()
        batches = planned_batches(self.file, self.plan, summary.read)
        with closing(batches), BatchesInOrder(target, retry, self.in_flight, self.plan.backfill) as sending:
            for acknowledged in sending.send(batches):
                summary = self._after(summary, acknowledged, target)
        return summary

    def _after(self, summary: ImportSummary, acknowledged: Acknowledged, target: Connection) -> ImportSummary:
        batch, answer = acknowledged
        if isinstance(answer, Failure):
            raise self._interrupted(summary, answer.message, answer.reason or answer.status, target)
        if isinstance(batch, ColumnBatch):
            assert isinstance(answer, ColumnsResult), "columns are answered by counts"
            summary = summary.after_columns(batch, answer)
        else:
            assert not isinstance(answer, ColumnsResult), "rows are answered one by one"
            lost = next((each for each in answer if each.outcome is UsageOutcome.UNDELIVERED), None)
            if lost is not None:
                raise self._interrupted(summary, lost.message, lost.reason, target)
            summary = summary.after(batch, answer)
        self.progress.save(summary)
        if self.on_progress is not None:
            self.on_progress(ImportProgress(summary.read, batch.read_bytes, self.file.size_bytes))
        return summary

    def _interrupted(self, summary: ImportSummary, message: str, reason: str, target: Connection) -> ImportInterrupted:
        return ImportInterrupted(
            f"the ingest service at {target.ingest} did not accept usage: {message}; "
            f"{summary.read} rows are done, run the same import again to continue",
            reason=reason,
        )


def _identity(file: UsageFile, plan: ImportPlan, address: str) -> ImportIdentity:
    return ImportIdentity(str(file.path.resolve()), file.size_bytes, file.modified_ns, plan.fingerprint, address)
