"""`meterlog rebuild`: fold projections anew from the log, compare, and swap; end, hold and go on with rebuilds."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import Services, connected
from services.cli.failure import CommandFailed, ExitCode, misused
from services.cli.projections import cancel_rebuilds, discard_rebuilds, known_projections
from services.cli.rebuilding import (
    PARALLEL_MAX,
    POSITION_MAX,
    Order,
    Rebuilt,
    carry_out,
    differences_table,
    rebuilt_table,
)
from services.cli.screen import Screen
from services.projection.projection import RebuildMode


def rebuild(
    names: Annotated[list[str] | None, typer.Argument(help="Projections; default: all of all services.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All projections of all services, said aloud.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", "--compare-only", help="Into scratch tables: compare, show what differs, change nothing."
        ),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Repair: put the rebuilt tables in place, even when they differ.")
    ] = False,
    parallel: Annotated[int, typer.Option(min=1, max=PARALLEL_MAX, help="Projections that are rebuilt at once.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the rebuild that is held furthest.")] = False,
    from_position: Annotated[
        int,
        typer.Option("--from", min=0, max=POSITION_MAX, help="Go on with the rebuild held at this position."),
    ] = 0,
    until_position: Annotated[
        int, typer.Option("--until", min=0, max=POSITION_MAX, help="Stop at this position, and hold the rebuild there.")
    ] = 0,
    examples: Annotated[int, typer.Option(min=0, max=100, help="Keys to show of each table that differs.")] = 5,
    cancel: Annotated[bool, typer.Option("--cancel", help="End rebuilds that run now; they are held.")] = False,
    discard: Annotated[
        bool, typer.Option("--discard", help="Drop rebuilds that are held; with --from, only the one held there.")
    ] = False,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Rebuild projections beside the live ones and compare digests. Fails when one differs."""
    screen = Screen(as_json)
    _require_one_meaning(names or (), every, [cancel, discard, resume])
    order = Order(_mode(dry_run, replace), from_position, resume, until_position, examples)
    with connected(var, os.environ) as services:
        if cancel:
            _show_cancelled(screen, cancel_rebuilds(services, names or ()))
        elif discard:
            _show_discarded(screen, discard_rebuilds(services, names or (), from_position))
        else:
            _show_rebuilt(screen, carry_out(services, _names(services, names or (), order), screen, order, parallel))


def _require_one_meaning(names: Sequence[str], every: bool, choices: Sequence[bool]) -> None:
    if names and every:
        raise misused("--all and names of projections exclude each other; choose one")
    if sum(choices) > 1:
        raise misused("--cancel, --discard and --resume exclude each other; choose one")


def _mode(dry_run: bool, replace: bool) -> RebuildMode:
    if dry_run and replace:
        raise misused("--dry-run and --replace exclude each other; choose one")
    if replace:
        return RebuildMode.REPLACE
    return RebuildMode.COMPARE_ONLY if dry_run else RebuildMode.SWAP_WHEN_EQUAL


def _names(services: Services, names: Sequence[str], order: Order) -> Sequence[str]:
    """What to rebuild: positions belong to one projection, and going on needs something that is held."""
    if (order.from_position or order.until_position) and len(names) != 1:
        raise misused("--from and --until are positions of one rebuild; name one projection")
    if not order.resume or names:
        return names
    holding = [found.name for _, found in known_projections(services) if found.held_rebuilds]
    if not holding:
        raise CommandFailed("no rebuild is held; start one from the first event", reason="NO_REBUILD_HELD")
    return holding


def _show_rebuilt(screen: Screen, results: Sequence[Rebuilt]) -> None:
    tables = [rebuilt_table(results)]
    if any(result.differences for result in results):
        tables.append(differences_table(results))
    screen.answer([asdict(result) for result in results], *tables)
    if not all(result.equal or result.held for result in results):
        raise typer.Exit(ExitCode.FAILED)


def _show_cancelled(screen: Screen, names: Sequence[str]) -> None:
    text = f"cancelled: {', '.join(names)}" if names else "no rebuild runs"
    screen.answer({"cancelled": list(names)}, Text(text))


def _show_discarded(screen: Screen, gone: Sequence[tuple[str, int]]) -> None:
    told = [f"discarded: the rebuild of {name} that was held at {position}" for name, position in gone]
    document = [{"projection": name, "position": position} for name, position in gone]
    screen.answer({"discarded": document}, Text("\n".join(told) or "no rebuild is held"))
