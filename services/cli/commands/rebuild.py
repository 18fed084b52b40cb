"""`meterlog rebuild`: fold projections anew from the log, compare, and swap."""

import os
from dataclasses import asdict
from typing import Annotated

import typer

from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import connected
from services.cli.failure import ExitCode
from services.cli.rebuilding import rebuild_projections, rebuilt_table
from services.cli.screen import Screen


def rebuild(
    names: Annotated[list[str] | None, typer.Argument(help="Projections; default: all of all services.")] = None,
    compare_only: Annotated[
        bool, typer.Option("--compare-only", help="Leave the live tables in place, even when equal.")
    ] = False,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Rebuild projections beside the live ones and compare digests. Fails when one differs."""
    screen = Screen(as_json)
    with connected(var, os.environ) as services:
        results = rebuild_projections(services, names or (), screen, compare_only=compare_only)
    screen.answer([asdict(result) for result in results], rebuilt_table(results))
    if not all(result.equal for result in results):
        raise typer.Exit(ExitCode.FAILED)
