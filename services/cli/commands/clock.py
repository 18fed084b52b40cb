"""`meterlog clock`: what the services take for now, and moving it in a simulation."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from services.cli.clock import ClockReading, advance_clock, read_clocks
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import connected
from services.cli.failure import misused
from services.cli.instants import instant_text, parse_instant, parse_length
from services.cli.screen import Screen

clock_app = typer.Typer(help="Show what the services take for now, or advance a simulated clock.")


@clock_app.callback(invoke_without_command=True)
def clock(context: typer.Context, var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """Show what the services take for now, or advance a simulated clock."""
    if context.invoked_subcommand is None:
        _show(var, as_json)


@clock_app.command("show")
def show_command(var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """Show what each service takes for now."""
    _show(var, as_json)


@clock_app.command("advance")
def advance_command(
    to: Annotated[str, typer.Option("--to", help="Instant to move to, ISO 8601.")] = "",
    by: Annotated[str, typer.Option("--by", help="How far to move, such as 90m, 6h or 31d.")] = "",
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Move the simulated clock forward; returns when every service goes by the new time."""
    if bool(to) == bool(by):
        raise misused("say either --to or --by")
    with connected(var, os.environ) as services:
        if to:
            target = parse_instant(to, "--to")
        else:
            target = max(reading.now for reading in read_clocks(services)) + parse_length(by, "--by")
        readings = advance_clock(services, target)
    _answer(readings, as_json)


def _show(var: Path, as_json: bool) -> None:
    with connected(var, os.environ) as services:
        readings = read_clocks(services)
    _answer(readings, as_json)


def _answer(readings: Sequence[ClockReading], as_json: bool) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    for reading in readings:
        table.add_row(reading.service, instant_text(reading.now), "simulated" if reading.is_simulated else "")
    document = [
        {"service": reading.service, "now": instant_text(reading.now), "simulated": reading.is_simulated}
        for reading in readings
    ]
    Screen(as_json).answer(document, table)
