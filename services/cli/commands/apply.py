"""`meterlog apply`: bring the services to what a file declares."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import connected
from services.cli.declared import applying
from services.cli.declared.catalogue import Item, read_catalogue
from services.cli.declared.difference import Action
from services.cli.declared.report import applied_document, applied_table, secret_lines
from services.cli.failure import CommandFailed, ExitCode, misused
from services.cli.screen import Screen


def apply(
    file: Annotated[Path, typer.Option("--file", "-f", help="YAML file; - reads standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference, write nothing.")] = False,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Create or update the meters, plans, customers, subscriptions and endpoints that a YAML file declares."""
    screen = Screen(as_json)
    items = _read(file)
    bring = applying.preview if dry_run else applying.apply
    with connected(var, os.environ) as services:
        results = list(bring(services, items))
    screen.answer(
        applied_document(results, is_dry_run=dry_run),
        applied_table(results, is_dry_run=dry_run),
        *secret_lines(results),
    )
    refused = sum(result.step.action is Action.REFUSED for result in results)
    if refused:
        screen.people.print(f"{refused} of {len(results)} refused", style="red")
        raise typer.Exit(ExitCode.FAILED)


def _read(file: Path) -> tuple[Item, ...]:
    if str(file) == "-":
        return read_catalogue(sys.stdin.buffer.read(), "standard input")
    try:
        return read_catalogue(file.read_bytes(), str(file))
    except FileNotFoundError as error:
        raise misused(f"no file {file}; check the path", "FILE_NOT_FOUND") from error
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}", reason="FILE_NOT_READABLE") from error
