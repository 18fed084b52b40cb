"""`meterlog import`: record a file of usage, row by row, each once."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from services.cli.addresses import find_addresses
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import API_KEY_VARIABLE
from services.cli.failure import ExitCode, misused
from services.cli.import_bar import import_with_bar
from services.cli.importing.file_format import WEB_FORMATS, FileFormat
from services.cli.importing.summary import ImportSummary
from services.cli.importing.web_request import PREFIX_SEGMENTS_MAX, TYPE, SubjectFrom, WebLogOptions
from services.cli.screen import Screen


def import_file(
    file: Annotated[
        Path,
        typer.Argument(help="CSV, NDJSON or Parquet file, web server's access log, or CloudEvents; text also as gzip."),
    ],
    mapping: Annotated[
        Path | None,
        typer.Option(help="YAML file that says how a row becomes a usage event; web logs and CloudEvents need none."),
    ] = None,
    format: Annotated[  # noqa: A002 (the option's name)
        FileFormat | None, typer.Option(help="Default: what name and content say.")
    ] = None,
    subject_from: Annotated[
        SubjectFrom, typer.Option(help="Web logs: the customer is the client's address, or the user.")
    ] = SubjectFrom.IP,
    subject: Annotated[str, typer.Option(help="Web logs: this customer for every request.")] = "",
    prefix_segments: Annotated[
        int, typer.Option(min=1, max=PREFIX_SEGMENTS_MAX, help="Web logs: segments of the property path_prefix.")
    ] = 1,
    type: Annotated[str, typer.Option(help="Web logs: type of the usage events.")] = TYPE,  # noqa: A002 (as above)
    source: Annotated[
        str, typer.Option(help="Web logs: source, one for each server; default: access-log or api-gateway.")
    ] = "",
    backfill: Annotated[str, typer.Option(help="Key of the open backfill that the file is loaded into.")] = "",
    restart: Annotated[bool, typer.Option("--restart", help="Begin with the first row, whatever was done.")] = False,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Record every row of a file as a usage event. Running it again records nothing twice."""
    web = WebLogOptions(subject_from, subject, prefix_segments, type, source)
    if mapping is not None and (web != WebLogOptions() or format in WEB_FORMATS):
        raise misused("a mapping says all there is to say; leave out what is for web logs")
    screen = Screen(as_json)
    summary = import_with_bar(
        file,
        mapping,
        address=find_addresses(var, os.environ)["ingest"],
        var=var,
        screen=screen,
        api_key=os.environ.get(API_KEY_VARIABLE, ""),
        restart=restart,
        format=format,
        web=web,
        backfill=backfill,
    )
    screen.answer(
        summary.document(), _counts(summary), *([_reasons(summary)] if summary.reasons else []), *_problems(summary)
    )
    if not summary.is_clean:
        raise typer.Exit(ExitCode.FAILED)


def _counts(summary: ImportSummary) -> str:
    return (
        f"{summary.read} rows read: {summary.recorded} recorded, {summary.duplicate} duplicates, "
        f"{summary.conflict} conflicts, {summary.invalid} invalid"
    )


def _reasons(summary: ImportSummary) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for each in summary.reasons:
        first = f"first in line {each.first_line}" if each.first_line else ""
        table.add_row(str(each.count), each.reason, first)
    return table


def _problems(summary: ImportSummary) -> list[Table]:
    table = Table(box=None, pad_edge=False, show_header=False)
    for problem in summary.problems:
        table.add_row(f"line {problem.line}", problem.field, problem.reason, problem.message)
    if summary.problems_not_shown:
        table.add_row(f"and {summary.problems_not_shown} more")
    return [table] if summary.problems else []
