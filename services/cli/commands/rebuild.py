"""`meterlog rebuild`: fold projections anew from the log, compare, and swap."""

import os
from dataclasses import asdict
from typing import Annotated

import typer

from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import connected
from services.cli.failure import ExitCode, misused
from services.cli.rebuilding import rebuild_projections, rebuilt_table
from services.cli.screen import Screen
from services.projection.projection import RebuildMode


def rebuild(
    names: Annotated[list[str] | None, typer.Argument(help="Projections; default: all of all services.")] = None,
    compare_only: Annotated[
        bool, typer.Option("--compare-only", help="Leave the live tables in place, even when equal.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Repair: put the rebuilt tables in place, even when they differ.")
    ] = False,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Rebuild projections beside the live ones and compare digests. Fails when one differs."""
    screen = Screen(as_json)
    with connected(var, os.environ) as services:
        results = rebuild_projections(services, names or (), screen, _mode(compare_only, replace))
    screen.answer([asdict(result) for result in results], rebuilt_table(results))
    if not all(result.equal for result in results):
        raise typer.Exit(ExitCode.FAILED)


def _mode(compare_only: bool, replace: bool) -> RebuildMode:
    if compare_only and replace:
        raise misused("--compare-only and --replace exclude each other; choose one")
    if replace:
        return RebuildMode.REPLACE
    return RebuildMode.COMPARE_ONLY if compare_only else RebuildMode.SWAP_WHEN_EQUAL
