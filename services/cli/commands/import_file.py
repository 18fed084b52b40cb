"""`meterlog import`: record a file of usage, row by row, each once."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from services.cli.addresses import find_addresses
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import API_KEY_VARIABLE
from services.cli.failure import ExitCode
from services.cli.import_bar import import_with_bar
from services.cli.importing.summary import ImportSummary
from services.cli.screen import Screen


def import_file(
    file: Annotated[Path, typer.Argument(help="CSV or NDJSON file, plain or gzip.")],
    mapping: Annotated[Path, typer.Option(help="YAML file that says how a row becomes a usage event.")],
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin with the first row, also when an earlier run was interrupted.")
    ] = False,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Record every row of a file as a usage event. Running it again records nothing twice."""
    screen = Screen(as_json)
    summary = import_with_bar(
        file,
        mapping,
        address=find_addresses(var, os.environ)["ingest"],
        var=var,
        screen=screen,
        api_key=os.environ.get(API_KEY_VARIABLE, ""),
        restart=restart,
    )
    screen.answer(summary.document(), _counts(summary), *([_problems(summary)] if summary.problems else []))
    if not summary.is_clean:
        raise typer.Exit(ExitCode.FAILED)


def _counts(summary: ImportSummary) -> str:
    return (
        f"{summary.read} rows read: {summary.recorded} recorded, {summary.duplicate} duplicates, "
        f"{summary.conflict} conflicts, {summary.invalid} invalid"
    )


def _problems(summary: ImportSummary) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for problem in summary.problems:
        table.add_row(f"line {problem.line}", problem.field, problem.reason, problem.message)
    if summary.problems_not_shown:
        table.add_row(f"and {summary.problems_not_shown} more")
    return table
