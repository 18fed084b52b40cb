"""`meterlog archive`: the copy of the log in columns that past usage is read from."""

import os

import typer

from meterlog.aggregator.v1 import storage_pb2 as storage
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import connected
from services.cli.failure import ExitCode
from services.cli.listing import count_text
from services.cli.message_document import message_document
from services.cli.screen import Screen

COMPACTION_TIMEOUT_S = 3600.0

archive_app = typer.Typer(help="Show the archive of usage events, or bring it up to date now.")


@archive_app.command("status")
def status_command(var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """Show where the archive stands; exit code 1 when something is wrong with it."""
    with connected(var, os.environ) as services:
        found = services.aggregator.call(services.storage.GetUsageArchive, storage.GetUsageArchiveRequest()).archive
    Screen(as_json).answer(message_document(found), _text(found))
    if found.problem:
        raise typer.Exit(ExitCode.FAILED)


@archive_app.command("compact")
def compact_command(var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """Archive everything recorded so far, merge small files of each day, and apply retention, now."""
    request = storage.CompactUsageArchiveRequest()
    with connected(var, os.environ) as services:
        done = services.aggregator.call(services.storage.CompactUsageArchive, request, COMPACTION_TIMEOUT_S)
    text = f"{_text(done.archive)}; merged or dropped: {count_text(done.removed_file_count, 'file')}"
    Screen(as_json).answer(message_document(done), text)


def _text(archive: storage.UsageArchive) -> str:
    kept = f", from {archive.first_day} on" if archive.first_day else ""
    problem = f"; PROBLEM: {archive.problem}" if archive.problem else ""
    return (
        f"{archive.url}: {count_text(archive.usage_event_count, 'usage event')} "
        f"in {count_text(archive.file_count, 'file')}, "
        f"{archive.size_bytes} bytes, up to position {archive.position}{kept}{problem}"
    )
