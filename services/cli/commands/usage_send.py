"""`meterlog usage send`: CloudEvents from a file or a pipe, in one request, each answered by itself."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from meterlog.ingest.v1 import ingest_pb2 as ingest
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import connected
from services.cli.failure import CommandFailed, ExitCode
from services.cli.importing.cloud_event_rows import cloud_event_rows
from services.cli.importing.file_format import FileFormat
from services.cli.importing.line import PeekableLines
from services.cli.importing.usage_file import decompressed, open_usage_file
from services.cli.screen import Screen
from services.cli.sent_cloud_events import (
    is_clean,
    outcomes,
    outcomes_document,
    outcomes_table,
    outcomes_text,
    request_of,
    taken,
)

STANDARD_INPUT: Final = Path("-")


def send(
    file: Annotated[
        Path, typer.Argument(help="CloudEvents in JSON: one a line, in an array, or a single one; - for what is piped.")
    ] = STANDARD_INPUT,
    atomic: Annotated[bool, typer.Option("--atomic", help="Record all that are new, or none.")] = False,
    backfill: Annotated[str, typer.Option(help="Key of the open backfill that they belong to.")] = "",
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Send up to 10,000 CloudEvents in one request, and tell what became of each. Exit code 1 when one is refused."""
    with _opened(file) as content:
        events, broken = taken(cloud_event_rows(content))
    if atomic and broken:
        first = broken[0].problem
        raise CommandFailed(f"nothing was sent: line {first.line}: {first.message}", reason=first.reason)
    results: Sequence[ingest.UsageResult] = ()
    receipts: Sequence[ingest.Receipt] = ()
    if events:
        with connected(var, os.environ) as services:
            request = request_of(events, atomic=atomic, backfill=backfill)
            answer = services.ingest.call(services.recording.RecordCloudEvents, request)
            results, receipts = answer.results, answer.receipts
    found = outcomes(events, results, broken)
    Screen(as_json).answer(outcomes_document(found, receipts), outcomes_table(found), outcomes_text(found))
    if not is_clean(found):
        raise typer.Exit(ExitCode.FAILED)


@contextmanager
def _opened(file: Path) -> Iterator[PeekableLines]:
    if file != STANDARD_INPUT:
        with open_usage_file(file, None, FileFormat.CLOUD_EVENTS) as opened:
            yield opened.content
        return
    with io.FileIO(sys.stdin.fileno(), closefd=False) as piped:
        yield decompressed(piped)[0]
